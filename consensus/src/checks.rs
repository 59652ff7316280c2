//! Signature checks in flight.
//!
//! Everybody relays a certificate that it formed, so copies arrive together: while one certificate
//! of a statement is checked, the others are parked, one per sender; they are dropped when it is
//! good and checked in turn when it is not. So a copy costs nothing, and a false one hides nothing.

use crate::check::{CheckJob, CheckResult, CheckWork, JobId};
use crate::config::CHECKS_PER_MEMBER_MAX;
use skerry_types::certificate::Certificate;
use skerry_types::ids::{MemberIndex, View};
use skerry_types::vote::Statement;
use std::collections::BTreeMap;

/// What a job is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To form a certificate.
    Form(Statement),
    /// To believe certificates that a member sent.
    Received {
        from: MemberIndex,
        statements: Vec<Statement>,
    },
    /// To believe the certificates of the proposal of a view.
    Proposal { from: MemberIndex, view: View },
    /// To accuse a member.
    Evidence,
}

/// The jobs in flight.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checks {
    last: u64,
    open: BTreeMap<JobId, Purpose>,
    parked: BTreeMap<Statement, BTreeMap<MemberIndex, Certificate>>,
    load: BTreeMap<MemberIndex, u32>,
}

impl Checks {
    /// A job.
    pub(crate) fn open(&mut self, purpose: Purpose, work: CheckWork) -> CheckJob {
        self.last = self.last.saturating_add(1);
        let id = JobId(self.last);
        self.open.insert(id, purpose);
        CheckJob { id, work }
    }

    /// A job for those of the certificates whose statements nobody else's are being checked for;
    /// parks the others. None when there is nothing to do or the sender has too much in flight.
    pub(crate) fn receive(
        &mut self,
        from: MemberIndex,
        certificates: Vec<Certificate>,
    ) -> Option<CheckJob> {
        let mut work = Vec::new();
        let load = self.load.get(&from).copied().unwrap_or(0);
        for certificate in certificates {
            if let Some(parked) = self.parked.get_mut(&certificate.statement) {
                parked.insert(from, certificate);
            } else if load < CHECKS_PER_MEMBER_MAX {
                self.parked.insert(certificate.statement, BTreeMap::new());
                work.push(certificate);
            }
        }
        if work.is_empty() {
            return None;
        }
        self.load.insert(from, load.saturating_add(1));
        let statements = work
            .iter()
            .map(|certificate| certificate.statement)
            .collect();
        let purpose = Purpose::Received { from, statements };
        Some(self.open(purpose, CheckWork::Certificates(work)))
    }

    /// Ends a job; `None` when it is not one of ours.
    pub(crate) fn close(&mut self, result: &CheckResult) -> Option<Purpose> {
        let purpose = self.open.remove(&result.id)?;
        if let Purpose::Received { from, .. } = &purpose
            && let Some(load) = self.load.get_mut(from)
        {
            *load = load.saturating_sub(1);
        }
        Some(purpose)
    }

    /// The certificates that waited for a check of this statement.
    pub(crate) fn unpark(&mut self, statement: &Statement) -> BTreeMap<MemberIndex, Certificate> {
        self.parked.remove(statement).unwrap_or_default()
    }

    /// Jobs in flight.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}
