//! `NodeService`: what the node is, and how its chains go on.

use super::limits;
use crate::view::{ChainView, NodeView};
use skerry_execution::{modules, views};
use skerry_proto::v1;
use skerry_types::block::BlockRef;
use skerry_types::ids::ChainRef;
use skerry_types::limits::{TRANSACTION_BYTES_MAX, VALID_UNTIL_AHEAD_MAX};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tonic::{Request, Response, Status};
use v1::node_service_server::NodeService;

/// How a chain goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainHealth {
    /// The chain.
    pub chain: ChainRef,
    /// Whether it is in step and finalizing.
    pub ready: bool,
    /// Whether it stands still because too little of the committee is connected.
    pub waiting_for_quorum: bool,
    /// Why it is not ready; empty when it is.
    pub detail: String,
}

/// How every followed chain goes on.
pub fn health_of(view: &NodeView) -> Vec<ChainHealth> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let beacon = view.chain(ChainRef::Beacon).map(|chain| chain.snapshot());
    let fence = |chain: ChainRef| {
        let record = views::shard_record(&beacon.as_ref()?.state, chain)?;
        let why = "fenced: two blocks of it are final at one height, or its seal is overdue";
        record.fenced.then(|| why.to_owned())
    };
    view.chains
        .values()
        .map(|chain| health_of_chain(chain, now_ms, fence(chain.chain)))
        .collect()
}

fn health_of_chain(chain: &ChainView, now_ms: u64, fence: Option<String>) -> ChainHealth {
    let snapshot = chain.snapshot();
    let trouble = snapshot.trouble(now_ms).or(fence);
    ChainHealth {
        chain: chain.chain,
        ready: trouble.is_none(),
        waiting_for_quorum: !snapshot.has_quorum(),
        detail: trouble.unwrap_or_default(),
    }
}

fn status_of_chain(chain: &ChainView, health: ChainHealth) -> v1::ChainStatus {
    let snapshot = chain.snapshot();
    let header = snapshot.finalized.as_ref().map(|(header, _)| header);
    v1::ChainStatus {
        chain: chain.chain.to_string(),
        finalized: header.map(|header| (&header.block_ref()).into()),
        executed: Some((&snapshot.executed).into()),
        state_root: snapshot.state.root().to_string(),
        view: snapshot.view.get(),
        epoch: header.map_or(0, |header| header.epoch.get()),
        mempool_transactions: snapshot.mempool as u64,
        waiting_for_quorum: health.waiting_for_quorum,
        time_ms: header.map_or(0, |header| header.time.get()),
        detail: health.detail,
        base_fee: if chain.chain.is_beacon() {
            String::new()
        } else {
            snapshot.base_fee.to_string()
        },
    }
}

/// Which final states an answer about `chain` was read from.
pub(super) fn anchor(view: &NodeView, chain: &ChainView, executed: BlockRef) -> v1::Anchor {
    let finalized = |chain: &ChainView| {
        let snapshot = chain.snapshot();
        snapshot
            .finalized
            .as_ref()
            .map(|(header, _)| (&header.block_ref()).into())
    };
    v1::Anchor {
        beacon: view
            .chain(ChainRef::Beacon)
            .and_then(|beacon| finalized(beacon)),
        chain: chain.chain.to_string(),
        block: Some((&executed).into()),
        finalized: finalized(chain),
    }
}

/// The service.
pub(super) struct Service {
    pub(super) view: Arc<NodeView>,
}

#[tonic::async_trait]
impl NodeService for Service {
    async fn get_node_info(
        &self,
        _: Request<v1::GetNodeInfoRequest>,
    ) -> Result<Response<v1::GetNodeInfoResponse>, Status> {
        let genesis = &self.view.genesis;
        let modules = modules::MODULES.iter().map(|module| v1::Module {
            id: module.id().get().into(),
            name: module.name().to_owned(),
        });
        Ok(Response::new(v1::GetNodeInfoResponse {
            chain_id: self.view.chain_id.to_string(),
            network: genesis.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            development: genesis.development,
            shard_depth: genesis.shard_depth.into(),
            chains: self.view.chains.keys().map(ToString::to_string).collect(),
            limits: Some(v1::Limits {
                transaction_bytes_max: TRANSACTION_BYTES_MAX as u64,
                batch_transactions_max: limits::BATCH_TRANSACTIONS_MAX as u64,
                batch_items_max: limits::BATCH_ITEMS_MAX as u64,
                request_bytes_max: limits::REQUEST_BYTES_MAX as u64,
                valid_until_ahead_max: VALID_UNTIL_AHEAD_MAX,
                wait_timeout_ms_max: limits::WAIT_MAX.as_secs().saturating_mul(1000),
            }),
            base_fee: genesis.parameters.base_fee.to_string(),
            modules: modules.collect(),
        }))
    }

    async fn get_node_status(
        &self,
        _: Request<v1::GetNodeStatusRequest>,
    ) -> Result<Response<v1::GetNodeStatusResponse>, Status> {
        let health = health_of(&self.view);
        let ready = health.iter().all(|chain| chain.ready);
        let chains = self.view.chains.values().zip(health);
        Ok(Response::new(v1::GetNodeStatusResponse {
            ready,
            chains: chains
                .map(|(chain, health)| status_of_chain(chain, health))
                .collect(),
            peers: self.view.peers.read().len() as u64,
        }))
    }
}
