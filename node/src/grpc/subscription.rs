//! `SubscriptionService`: final blocks in order, without a gap, from a height on.
//!
//! The stream reads the store and waits at its end, so a slow subscriber delays only itself and
//! nothing is buffered for it.

use super::ledger::{block_at, followed};
use super::limits::{PROGRESS_INTERVAL, SUBSCRIPTION_BLOCKS};
use super::refusal::Refusal;
use crate::view::{ChainView, NodeView};
use futures::Stream;
use skerry_proto::v1::{self, BlockKind, ErrorReason};
use skerry_types::ids::Height;
use std::pin::Pin;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};
use v1::subscription_service_server::SubscriptionService;

/// The service.
pub(super) struct Service {
    pub(super) view: Arc<NodeView>,
}

type Blocks = Pin<Box<dyn Stream<Item = Result<v1::SubscribeBlocksResponse, Status>> + Send>>;

#[tonic::async_trait]
impl SubscriptionService for Service {
    type SubscribeBlocksStream = Blocks;

    async fn subscribe_blocks(
        &self,
        request: Request<v1::SubscribeBlocksRequest>,
    ) -> Result<Response<Blocks>, Status> {
        let request = request.into_inner();
        let chain = followed(&self.view, &request.chain)?.clone();
        let next = chain.snapshot().final_height().next();
        let cursor = Cursor {
            changed: chain.subscribe(),
            chain,
            next: request
                .from_height
                .map_or(next, |from| Height::new(from.max(1))),
            working_only: request.working_only,
            with_encoded: request.with_encoded,
        };
        Ok(Response::new(Box::pin(futures::stream::unfold(
            Some(cursor),
            step,
        ))))
    }
}

/// Where a subscriber is.
struct Cursor {
    chain: Arc<ChainView>,
    changed: tokio::sync::watch::Receiver<u64>,
    next: Height,
    working_only: bool,
    with_encoded: bool,
}

type Item = Result<v1::SubscribeBlocksResponse, Status>;

async fn step(cursor: Option<Cursor>) -> Option<(Item, Option<Cursor>)> {
    let mut cursor = cursor?;
    match cursor.frame().await {
        Some(Ok(frame)) => Some((Ok(frame), Some(cursor))),
        Some(Err(refusal)) => Some((Err(refusal.into()), None)),
        None => None,
    }
}

impl Cursor {
    /// The next block, or progress when there is none for a while; `None` when the node stops.
    async fn frame(&mut self) -> Option<Result<v1::SubscribeBlocksResponse, Refusal>> {
        let deadline = Instant::now() + PROGRESS_INTERVAL;
        loop {
            match self.block() {
                Ok(Some(block)) => {
                    let height = block.height;
                    return Some(Ok(v1::SubscribeBlocksResponse {
                        block: Some(block),
                        height,
                    }));
                }
                Ok(None) => {}
                Err(refusal) => return Some(Err(refusal)),
            }
            match timeout_at(deadline, self.changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => {
                    let height = self.next.get().saturating_sub(1);
                    return Some(Ok(v1::SubscribeBlocksResponse {
                        block: None,
                        height,
                    }));
                }
            }
        }
    }

    /// The next wanted block that is final and stored.
    fn block(&mut self) -> Result<Option<v1::Block>, Refusal> {
        let newest = self.chain.snapshot().final_height();
        for _ in 0..SUBSCRIPTION_BLOCKS {
            if self.next > newest {
                return Ok(None);
            }
            let Some(block) = block_at(&self.chain, self.next, self.with_encoded)? else {
                return self.missing(newest).map(|()| None);
            };
            self.next = self.next.next();
            if !self.working_only || block.kind() == BlockKind::Working {
                return Ok(Some(block));
            }
        }
        // More idle blocks than one turn reads: let others run first.
        self.changed.mark_changed();
        Ok(None)
    }

    /// A height at or below the newest final one that the store does not have: not stored yet when
    /// it is close, pruned when it is not.
    fn missing(&self, newest: Height) -> Result<(), Refusal> {
        if newest.above(self.next) <= 1024 {
            return Ok(());
        }
        let message = format!(
            "block {} of {} is no longer kept",
            self.next, self.chain.chain
        );
        Err(Refusal::new(ErrorReason::HeightPruned, message).with("newest", newest))
    }
}
