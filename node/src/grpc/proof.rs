//! `ProofService`: the light proof of all records of an owner.

use super::ledger::not_followed;
use super::node::anchor;
use super::refusal::Refusal;
use super::status::{changed, wait_of, watch};
use crate::view::{NodeView, ProofUnavailable};
use skerry_proto::convert;
use skerry_proto::v1;
use skerry_types::codec;
use skerry_types::ids::{Address, Epoch, Height};
use skerry_types::light::LightProof;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};
use v1::proof_service_server::ProofService;

/// Most seals of one answer.
const SEALS_MAX: usize = 64;

/// The service.
pub(super) struct Service {
    pub(super) view: Arc<NodeView>,
}

impl Service {
    /// Waits until the beacon attests what is to be proven.
    async fn prove(
        &self,
        owner: &Address,
        at_least: Height,
        wait: Duration,
    ) -> Result<LightProof, Refusal> {
        let deadline = Instant::now() + wait;
        let mut receivers = watch(&self.view);
        loop {
            let error = match self.view.proof(owner, at_least) {
                Ok(proof) => return Ok(proof),
                Err(error @ ProofUnavailable::NotFollowed(_)) => return Err(error.into()),
                Err(error) => error,
            };
            if Instant::now() >= deadline {
                return Err(error.into());
            }
            // Late or not, the next look decides.
            let _ = timeout_at(deadline, changed(&mut receivers)).await;
        }
    }
}

#[tonic::async_trait]
impl ProofService for Service {
    async fn get_state_proof(
        &self,
        request: Request<v1::GetStateProofRequest>,
    ) -> Result<Response<v1::GetStateProofResponse>, Status> {
        let request = request.into_inner();
        let owner = convert::address("address", &request.address).map_err(Refusal::from)?;
        let home = self.view.home(&owner);
        let chain = self.view.chain(home).ok_or_else(|| not_followed(home))?;
        let wait = wait_of(request.wait_timeout_ms);
        let proof = self
            .prove(&owner, Height::new(request.min_height), wait)
            .await?;
        Ok(Response::new(v1::GetStateProofResponse {
            proof: codec::encode(&proof),
            anchor: Some(anchor(&self.view, chain, chain.snapshot().executed)),
        }))
    }

    async fn get_beacon_seals(
        &self,
        request: Request<v1::GetBeaconSealsRequest>,
    ) -> Result<Response<v1::GetBeaconSealsResponse>, Status> {
        let v1::GetBeaconSealsRequest { from_epoch, limit } = request.into_inner();
        let limit = match usize::try_from(limit) {
            Ok(limit @ 1..=SEALS_MAX) => limit,
            _ => SEALS_MAX,
        };
        let seals = self.view.seals(Epoch::new(from_epoch), limit);
        let seals = seals.map_err(|error| {
            Status::from(Refusal::new(v1::ErrorReason::Internal, error.to_string()))
        })?;
        Ok(Response::new(v1::GetBeaconSealsResponse {
            seals: seals.iter().map(codec::encode).collect(),
        }))
    }
}
