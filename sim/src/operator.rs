//! An operator: a client that makes a validator of the machine that the genesis does not know,
//! adds to its bond, leaves with it again and takes the bond home.

use crate::counts::Counts;
use crate::plan::Plan;
use crate::random::Random;
use skerry_execution::modules::STAKING;
use skerry_execution::modules::staking::calls::{StakingCall, registration_digest};
use skerry_types::amount::Amount;
use skerry_types::genesis::stake_units;
use skerry_types::ids::{Address, ValidatorId};
use skerry_types::transaction::Operation;

/// How far the newcomer has come, as final requests say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Unknown,
    Registered,
    Leaving,
    Gone,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To be a validator.
    Register,
    /// A larger bond.
    TopUp,
    /// To leave.
    Exit,
    /// The bond.
    Withdraw,
}

/// The operator of the newcomer.
pub struct Operator {
    newcomer: ValidatorId,
    bond: u128,
    stage: Stage,
    random: Random,
}

impl Operator {
    /// That of a plan; none where nobody joins.
    pub fn of(plan: &Plan, random: Random) -> Option<Self> {
        plan.newcomer()?;
        let stakes = plan.genesis.validators.iter().map(|it| it.stake);
        let founders = u32::try_from(plan.genesis.validators.len()).ok()?;
        Some(Self {
            newcomer: ValidatorId::new(founders),
            // No more than the smallest has, so that nobody's share grows by much.
            bond: stake_units(stakes.min()?),
            stage: Stage::Unknown,
            random,
        })
    }

    /// What it asks for now, with what it attaches.
    pub fn wish(&mut self, plan: &Plan, sender: &Address) -> Option<(Wish, u128, Operation)> {
        let validator = self.newcomer;
        let wish = match self.stage {
            Stage::Unknown => Wish::Register,
            Stage::Registered if self.random.chance(700) => Wish::Exit,
            Stage::Registered => Wish::TopUp,
            Stage::Leaving => Wish::Withdraw,
            Stage::Gone => return None,
        };
        let (attached, call) = match wish {
            Wish::Register => {
                let secret = plan.newcomer()?;
                let vote_key = secret.public_key();
                let digest = registration_digest(&plan.chain_id(), &vote_key, sender);
                let (proof, bond) = (secret.sign(&digest), Amount::new(self.bond));
                let call = StakingCall::Register {
                    vote_key,
                    proof,
                    bond,
                };
                // More than is taken: the rest comes home.
                (self.bond.saturating_add(7), call)
            }
            Wish::TopUp => {
                let amount = Amount::new(11);
                (11, StakingCall::TopUp { validator, amount })
            }
            Wish::Exit => (0, StakingCall::Exit { validator }),
            Wish::Withdraw => (0, StakingCall::Withdraw { validator }),
        };
        let operation = Operation {
            module: STAKING,
            call: call.to_bytes(),
        };
        Some((wish, attached, operation))
    }

    /// A request was done.
    pub fn on_done(&mut self, wish: Wish, counts: &mut Counts) {
        self.stage = match wish {
            Wish::Register => {
                counts.note("validators registered");
                Stage::Registered
            }
            Wish::TopUp => self.stage,
            Wish::Exit => {
                counts.note("validators leaving");
                Stage::Leaving
            }
            Wish::Withdraw => {
                counts.note("bonds returned");
                Stage::Gone
            }
        };
    }
}
