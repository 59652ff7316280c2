//! `StateService`: what accounts hold, from the state of the newest final executed block.

use super::channels;
use super::ledger::{check_batch, not_followed};
use super::limits::BATCH_ITEMS_MAX;
use super::node::anchor;
use super::refusal::Refusal;
use super::status::{Submitted, beacon_height};
use crate::view::NodeView;
use skerry_execution::views::{self, PoolRecord, ValidatorRecord, ValidatorStage};
use skerry_proto::convert;
use skerry_proto::v1::{self, ErrorReason};
use skerry_types::amount::Amount;
use skerry_types::committee::Committee;
use skerry_types::ids::{Address, ChainRef, Epoch, Height, ValidatorId};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};
use v1::state_service_server::StateService;

/// The service.
pub(super) struct Service {
    pub(super) view: Arc<NodeView>,
    pub(super) submitted: Arc<Submitted>,
}

impl Service {
    fn account(&self, address: &Address, stream: u16) -> Result<v1::GetAccountResponse, Refusal> {
        let home = self.view.home(address);
        let chain = self.view.chain(home).ok_or_else(|| not_followed(home))?;
        let snapshot = chain.snapshot();
        let records = snapshot.state.owner_entries(address);
        let final_nonce = views::next_nonce(&snapshot.state, address, stream);
        let account = v1::Account {
            address: address.to_string(),
            chain: home.to_string(),
            balances: views::balances(&records).iter().map(Into::into).collect(),
            claims: views::claims(&records).iter().map(claim).collect(),
            next_nonce: self
                .submitted
                .next_free(&self.view, address, stream, final_nonce),
            final_nonce,
        };
        let anchor = anchor(&self.view, chain, snapshot.executed);
        let parameters = &self.view.genesis.parameters;
        let base_fee = snapshot.base_fee;
        Ok(v1::GetAccountResponse {
            account: Some(account),
            anchor: Some(anchor),
            base_fee: base_fee.to_string(),
            gas_price: views::gas_price(base_fee, parameters).to_string(),
        })
    }
}

#[tonic::async_trait]
impl StateService for Service {
    async fn get_account(
        &self,
        request: Request<v1::GetAccountRequest>,
    ) -> Result<Response<v1::GetAccountResponse>, Status> {
        let request = request.into_inner();
        let address = convert::address("address", &request.address).map_err(Refusal::from)?;
        let stream = stream_of(request.nonce_stream)?;
        let (reached, wanted) = (
            beacon_height(&self.view),
            Height::new(request.min_beacon_height),
        );
        if reached < wanted {
            let message = format!("the newest beacon block here is {reached}, not yet {wanted}");
            let refusal = Refusal::new(ErrorReason::NodeBehind, message).with("reached", reached);
            return Err(refusal.retry_after(Duration::from_millis(500)).into());
        }
        Ok(Response::new(self.account(&address, stream)?))
    }

    async fn batch_get_accounts(
        &self,
        request: Request<v1::BatchGetAccountsRequest>,
    ) -> Result<Response<v1::BatchGetAccountsResponse>, Status> {
        let addresses = request.into_inner().addresses;
        check_batch(addresses.len(), BATCH_ITEMS_MAX)?;
        let accounts: Result<Vec<_>, Refusal> = addresses
            .iter()
            .map(|text| self.account(&convert::address("addresses", text)?, 0))
            .collect();
        Ok(Response::new(v1::BatchGetAccountsResponse {
            accounts: accounts?,
        }))
    }

    async fn get_token(
        &self,
        request: Request<v1::GetTokenRequest>,
    ) -> Result<Response<v1::GetTokenResponse>, Status> {
        let denom = convert::denom("denom", &request.into_inner().denom).map_err(Refusal::from)?;
        let home = self.view.home(&denom.object());
        let chain = self.view.chain(home).ok_or_else(|| not_followed(home))?;
        let snapshot = chain.snapshot();
        let token = views::token(&snapshot.state, &denom).ok_or_else(|| {
            let message = if denom.is_reserved() {
                format!("{denom} is a native denom and no token; accounts show its balances")
            } else {
                format!("no token has the denom {denom}")
            };
            Refusal::new(ErrorReason::DenomUnknown, message).with("denom", denom)
        })?;
        let token = v1::Token {
            denom: denom.to_string(),
            name: token.name,
            symbol: token.symbol,
            decimals: token.decimals.into(),
            metadata: token.metadata,
            creator: token.creator.to_string(),
            authority: token
                .authority
                .map(|who| who.to_string())
                .unwrap_or_default(),
            supply: views::token_supply(&snapshot.state, &denom).to_string(),
        };
        let anchor = anchor(&self.view, chain, snapshot.executed);
        Ok(Response::new(v1::GetTokenResponse {
            token: Some(token),
            anchor: Some(anchor),
        }))
    }

    async fn get_pool(
        &self,
        request: Request<v1::GetPoolRequest>,
    ) -> Result<Response<v1::GetPoolResponse>, Status> {
        let address =
            convert::address("pool", &request.into_inner().pool).map_err(Refusal::from)?;
        let home = self.view.home(&address);
        let chain = self.view.chain(home).ok_or_else(|| not_followed(home))?;
        let snapshot = chain.snapshot();
        let record = views::pool(&snapshot.state, &address).ok_or_else(|| {
            let message = format!("no pool has the address {address}");
            Refusal::new(ErrorReason::PoolUnknown, message).with("pool", address)
        })?;
        let shares = views::token_supply(&snapshot.state, &views::share_denom(&address));
        Ok(Response::new(v1::GetPoolResponse {
            pool: Some(pool(&address, &record, shares)),
            anchor: Some(anchor(&self.view, chain, snapshot.executed)),
            state_root: snapshot.state.root().to_string(),
        }))
    }

    async fn list_validators(
        &self,
        _: Request<v1::ListValidatorsRequest>,
    ) -> Result<Response<v1::ListValidatorsResponse>, Status> {
        let home = ChainRef::Beacon;
        let chain = self.view.chain(home).ok_or_else(|| not_followed(home))?;
        let snapshot = chain.snapshot();
        let state = &snapshot.state;
        let committees: Vec<Committee> = self
            .view
            .genesis
            .chains()
            .into_iter()
            .filter_map(|chain| {
                let open = views::open_epoch(state, ChainRef::Beacon, chain)?;
                views::committee(state, chain, open)
            })
            .collect();
        let unbonding = self.view.genesis.parameters.unbonding_epochs;
        let epoch = views::epoch(state, ChainRef::Beacon).unwrap_or_default();
        let validators = views::validators(state);
        Ok(Response::new(v1::ListValidatorsResponse {
            validators: validators
                .iter()
                .map(|(id, record)| validator(*id, record, &committees, unbonding))
                .collect(),
            epoch: epoch.epoch.get(),
            anchor: Some(anchor(&self.view, chain, snapshot.executed)),
        }))
    }

    async fn list_channels(
        &self,
        request: Request<v1::ListChannelsRequest>,
    ) -> Result<Response<v1::ListChannelsResponse>, Status> {
        let only = channel_chain(&self.view, &request.into_inner().chain)?;
        Ok(Response::new(channels::list(&self.view, only)))
    }

    async fn get_supply(
        &self,
        _: Request<v1::GetSupplyRequest>,
    ) -> Result<Response<v1::GetSupplyResponse>, Status> {
        let beacon = ChainRef::Beacon;
        let chain = self
            .view
            .chain(beacon)
            .ok_or_else(|| not_followed(beacon))?;
        let snapshot = chain.snapshot();
        let denoms = channels::supply(&self.view, &snapshot.state).ok_or_else(|| {
            let message = "the records of the shards do not make a consistent cut";
            Refusal::new(ErrorReason::Internal, message.to_owned())
        })?;
        Ok(Response::new(v1::GetSupplyResponse {
            denoms,
            anchor: Some(anchor(&self.view, chain, snapshot.executed)),
        }))
    }
}

fn channel_chain(view: &NodeView, text: &str) -> Result<Option<ChainRef>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let chain = convert::chain("chain", text).map_err(Refusal::from)?;
    if view.info.has(chain) {
        return Ok(Some(chain));
    }
    let message = format!("this network has no chain {chain}");
    Err(Refusal::new(ErrorReason::ChainUnknown, message).with("chain", chain))
}

fn pool(address: &Address, record: &PoolRecord, shares: Amount) -> v1::Pool {
    v1::Pool {
        address: address.to_string(),
        reserves: record.reserves.iter().map(Into::into).collect(),
        fee_ppm: record.fee_ppm.millionths(),
        share_denom: views::share_denom(address).to_string(),
        shares: shares.to_string(),
        cumulative_prices: record
            .cumulative_prices
            .iter()
            .map(ToString::to_string)
            .collect(),
        time_ms: record.time.get(),
    }
}

fn validator(
    id: ValidatorId,
    record: &ValidatorRecord,
    committees: &[Committee],
    unbonding: u64,
) -> v1::Validator {
    let seat = |committee: &Committee| {
        let mut members = committee.members.iter();
        let member = members.find(|member| member.validator == id)?;
        Some(v1::ValidatorSeat {
            chain: committee.chain.to_string(),
            weight: member.weight.get(),
        })
    };
    let free_from = match record.stage {
        ValidatorStage::Unbonding { since } => Some(since.saturating_add(unbonding)),
        ValidatorStage::Active | ValidatorStage::Exiting | ValidatorStage::Withdrawn => None,
    };
    v1::Validator {
        id: id.get(),
        vote_key: hex::encode(record.vote_key.0),
        operator: record.operator.to_string(),
        stage: record.stage.name().to_owned(),
        bond: record.bond.to_string(),
        stake: record.effective_stake().get(),
        slashed: record.slashed.to_string(),
        jailed_until: record.jailed.map(Epoch::get),
        free_from: free_from.map(Epoch::get),
        seats: committees.iter().filter_map(seat).collect(),
    }
}

fn claim(claim: &views::Claim) -> v1::Claim {
    v1::Claim {
        source: claim.source.to_string(),
        sequence: claim.sequence.get(),
        asset: Some((&claim.asset).into()),
    }
}

fn stream_of(stream: u32) -> Result<u16, Refusal> {
    u16::try_from(stream).map_err(|_| {
        let message = format!("nonce_stream {stream} is above {}", u16::MAX);
        Refusal::new(ErrorReason::ArgumentInvalid, message).with("field", "nonce_stream")
    })
}
