//! The gRPC server: six services over the read side of the node, health, reflection, grpc-web.
//!
//! A request is parsed at the edge ([`skerry_proto::convert`]), answered from immutable snapshots
//! ([`crate::view`]), and refused with a reason from [`skerry_proto::v1::ErrorReason`]. Nothing here
//! touches a chain thread but for handing it transactions. One file per service; `status` composes
//! what becomes of a transaction from the receipts of all its legs, `refusal` turns errors into
//! `google.rpc.Status`, `edge` gives tonic's own errors a reason.

mod admission;
mod channels;
mod edge;
mod estimate;
mod ledger;
mod limits;
mod node;
mod proof;
mod refusal;
mod state;
mod status;
mod subscription;
#[cfg(test)]
mod tests;
mod transaction;

pub use node::{ChainHealth, health_of};

use crate::view::NodeView;
use skerry_proto::FILE_DESCRIPTOR_SET;
use skerry_proto::v1;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower_http::cors::{Any, CorsLayer};
use v1::ledger_service_server::LedgerServiceServer;
use v1::node_service_server::NodeServiceServer;
use v1::proof_service_server::ProofServiceServer;
use v1::state_service_server::StateServiceServer;
use v1::subscription_service_server::SubscriptionServiceServer;
use v1::transaction_service_server::TransactionServiceServer;

/// How often the health service looks at the chains.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);

/// A service with the limit of a request's size.
macro_rules! sized {
    ($server:ident, $service:expr) => {
        $server::new($service).max_decoding_message_size(limits::REQUEST_BYTES_MAX)
    };
}

/// Serves the API until `shutdown` completes.
///
/// # Errors
/// When the transport fails, or the descriptor set is damaged.
pub async fn serve(
    view: Arc<NodeView>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let (reporter, health) = tonic_health::server::health_reporter();
    report(&reporter, false).await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let submitted = Arc::new(status::Submitted::default());
    let services = Server::builder()
        .accept_http1(true)
        .concurrency_limit_per_connection(limits::CALLS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .layer(cors())
        .layer(tonic_web::GrpcWebLayer::new())
        .layer(edge::ReasonLayer)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(sized!(
            NodeServiceServer,
            node::Service { view: view.clone() }
        ))
        .add_service(sized!(
            LedgerServiceServer,
            ledger::Service {
                view: view.clone(),
                submitted: submitted.clone(),
            }
        ))
        .add_service(sized!(
            StateServiceServer,
            state::Service {
                view: view.clone(),
                submitted: submitted.clone(),
            }
        ))
        .add_service(sized!(
            TransactionServiceServer,
            transaction::Service {
                view: view.clone(),
                submitted,
            }
        ))
        .add_service(sized!(
            ProofServiceServer,
            proof::Service { view: view.clone() }
        ))
        .add_service(sized!(
            SubscriptionServiceServer,
            subscription::Service { view: view.clone() }
        ));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = services.serve_with_incoming_shutdown(incoming, shutdown);
    tokio::select! {
        served = serving => Ok(served?),
        never = watch_health(&view, &reporter) => match never {},
    }
}

/// Browsers may call from any origin: there are no cookies, and what a call needs is signed.
fn cors() -> CorsLayer {
    let exposed = ["grpc-status", "grpc-message", "grpc-status-details-bin"];
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(Any)
        .allow_headers(Any)
        .expose_headers(exposed.map(axum::http::HeaderName::from_static))
}

async fn report(reporter: &HealthReporter, serving: bool) {
    let status = if serving {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    let names = [
        "",
        "skerry.v1.TransactionService",
        "skerry.v1.StateService",
        "skerry.v1.ProofService",
    ];
    for name in names {
        reporter.set_service_status(name, status).await;
    }
    // These answer from what there is, in step or not.
    for name in [
        "skerry.v1.NodeService",
        "skerry.v1.LedgerService",
        "skerry.v1.SubscriptionService",
    ] {
        reporter
            .set_service_status(name, ServingStatus::Serving)
            .await;
    }
}

async fn watch_health(view: &NodeView, reporter: &HealthReporter) -> std::convert::Infallible {
    let mut serving = false;
    let mut interval = tokio::time::interval(HEALTH_INTERVAL);
    loop {
        interval.tick().await;
        let ready = health_of(view).iter().all(|chain| chain.ready);
        if ready != serving {
            serving = ready;
            report(reporter, serving).await;
        }
    }
}
