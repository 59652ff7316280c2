//! From a wish to a signed transaction: calls by module name and JSON, and the fields around them.
//!
//! A [`Draft`] holds what is to be done; [`Draft::body`] adds what depends on the account and the
//! network: nonce, expiry, gas and price. Gas is a function of the calls, so the limit is exact and
//! needs no margin. The same draft and terms give the same bytes.

#[cfg(test)]
mod tests;

use serde_json::{Value, json};
use skerry_execution::error::{CallError, Rejection};
use skerry_execution::fees::{bundle_gas, envelope_gas};
use skerry_execution::module::Place;
use skerry_execution::modules;
use skerry_types::amount::{Amount, Asset};
use skerry_types::codec::{self, Version};
use skerry_types::crypto::ed25519::{PublicKey, SecretKey, Signature};
use skerry_types::ids::{Address, Denom, Digest, Gas, Height, ParseIdError};
use skerry_types::limits;
use skerry_types::transaction::{
    Authenticator, Bundle, Leg, Nonce, Operation, SignedTransaction, Target, TransactionBody,
    Witness,
};

/// For how many beacon blocks a transaction is valid unless told otherwise: some minutes.
pub const VALID_FOR_BEACON_BLOCKS: u64 = 1_000;

/// Why no transaction can be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No module has this name.
    #[error("no module is named {name:?}; there are {known}")]
    Module {
        /// What was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The JSON is no call of the module.
    #[error("this is no call of {module}")]
    Call {
        /// The module.
        module: String,
        /// What is wrong.
        #[source]
        source: CallError,
    },
    /// The calls run on different chains.
    #[error("calls of {module} run on {place}, those before on {before}; send two transactions")]
    Place {
        /// The module.
        module: String,
        /// Where its calls run.
        place: Place,
        /// Where those before it run.
        before: Place,
    },
    /// The calls have no gas together.
    #[error("the calls cannot run together")]
    Gas(#[source] Rejection),
    /// Too many operations.
    #[error("{actual} operations, a bundle holds at most {limit}")]
    Operations {
        /// How many there are.
        actual: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Nothing would be moved.
    #[error("the amount is zero; send at least one base unit of {denom}")]
    ZeroAmount {
        /// Which denom.
        denom: Denom,
    },
    /// Attached or demanded assets of one denom do not fit.
    #[error("attached or demanded, {denom} exceed 2^128 base units")]
    Overflow {
        /// Which denom.
        denom: Denom,
    },
    /// More denoms are attached or demanded than a bundle holds.
    #[error("{actual} denoms are attached or demanded, a bundle holds at most {limit}")]
    Assets {
        /// How many there are.
        actual: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The bundle's calls run on the beacon, and it is to run near an owner.
    #[error("calls of the beacon's modules run there, not near {owner}")]
    Near {
        /// Near whom.
        owner: Address,
    },
    /// An onward leg is not what one can be.
    #[error("no onward leg: {what}")]
    Onward {
        /// What is wrong, and what to do.
        what: &'static str,
    },
    /// A text is no id.
    #[error(transparent)]
    Id(#[from] ParseIdError),
}

/// Gas of a transaction with this body and one ed25519 signature. The gas limit itself has a fixed
/// width, so filling it in changes nothing.
///
/// # Errors
/// When a module does not exist, a call is not one of its module or does not run at the target.
pub fn gas_of(body: &TransactionBody) -> Result<Gas, Rejection> {
    let witness = Witness {
        authenticator: Authenticator::Ed25519(PublicKey([0; 32])),
        signatures: vec![(0, Signature([0; 64]))],
    };
    let wire_bytes = codec::encode(body)
        .len()
        .saturating_add(codec::encode(&witness).len());
    Ok(bundle_gas(&body.bundle)?.saturating_add(envelope_gas(wire_bytes, 1).get()))
}

/// What is to be done, without the terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// On which kind of chain the calls run; they say it themselves.
    place: Option<Place>,
    /// On whose shard, when it is not the sender's.
    near: Option<Address>,
    assets: Vec<Asset>,
    operations: Vec<Operation>,
    minimum_outputs: Vec<Asset>,
    onward: Vec<Leg>,
}

/// What the account and the network add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The network.
    pub chain_id: Digest,
    /// Who acts and pays.
    pub sender: Address,
    /// The account's next nonce in a stream.
    pub nonce: Nonce,
    /// Last beacon height at which a block may include it.
    pub valid_until: Height,
    /// Base units of `sker` per unit of gas.
    pub gas_price: Amount,
}

/// Adds to a list in order of denom; nothing changes it by nothing.
fn add(assets: &mut Vec<Asset>, asset: Asset) -> Result<(), BuildError> {
    if asset.amount.is_zero() {
        return Ok(());
    }
    match assets.binary_search_by_key(&asset.denom, |held| held.denom) {
        Ok(position) => {
            if let Some(held) = assets.get_mut(position) {
                let sum = held.amount.checked_add(asset.amount);
                held.amount = sum.ok_or(BuildError::Overflow { denom: asset.denom })?;
            }
        }
        Err(position) => assets.insert(position, asset),
    }
    let (actual, limit) = (assets.len(), limits::ASSETS_MAX);
    if actual > limit {
        return Err(BuildError::Assets { actual, limit });
    }
    Ok(())
}

impl Draft {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends an asset to an account on whichever shard.
    ///
    /// # Errors
    /// When the amount is zero, or the bundle is full.
    pub fn transfer(self, to: &Address, asset: Asset) -> Result<Self, BuildError> {
        if asset.amount.is_zero() {
            return Err(BuildError::ZeroAmount { denom: asset.denom });
        }
        self.attach(asset)?
            .call("bank", &json!({"send": {"to": to, "asset": asset}}))
    }

    /// Adds a call by module name and JSON, the form that every module documents.
    ///
    /// # Errors
    /// When there is no such module or call, or the bundle is full.
    pub fn call(mut self, module: &str, call: &Value) -> Result<Self, BuildError> {
        let found = modules::find_by_name(module).ok_or_else(|| BuildError::Module {
            name: module.to_owned(),
            known: modules::MODULES
                .iter()
                .map(|module| module.name())
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        let bytes = found
            .call_from_json(call)
            .map_err(|source| BuildError::Call {
                module: module.to_owned(),
                source,
            })?;
        let place = found.place();
        let before = *self.place.get_or_insert(place);
        if before != place {
            let module = module.to_owned();
            return Err(BuildError::Place {
                module,
                place,
                before,
            });
        }
        self.operations.push(Operation {
            module: found.id(),
            call: bytes,
        });
        let (actual, limit) = (self.operations.len(), limits::BUNDLE_OPERATIONS_MAX);
        if actual > limit {
            Err(BuildError::Operations { actual, limit })
        } else {
            Ok(self)
        }
    }

    /// Puts an asset of the sender on the bundle's sheet.
    ///
    /// # Errors
    /// When the sum or the number of denoms is too large.
    pub fn attach(mut self, asset: Asset) -> Result<Self, BuildError> {
        add(&mut self.assets, asset)?;
        Ok(self)
    }

    /// Demands that so much is left when the calls have run; otherwise nothing happens.
    ///
    /// # Errors
    /// When the sum or the number of denoms is too large.
    pub fn demand(mut self, asset: Asset) -> Result<Self, BuildError> {
        add(&mut self.minimum_outputs, asset)?;
        Ok(self)
    }

    /// Runs the calls on the home shard of an owner, such as a pool, whichever that is.
    #[must_use]
    pub fn near(mut self, owner: Address) -> Self {
        self.near = Some(owner);
        self
    }

    /// Sends on all that is left, to where another draft says, for its calls. What is left there comes
    /// home, or travels on in turn.
    ///
    /// # Errors
    /// When the other one attaches something, names no place, or there are too many hops.
    pub fn then(mut self, next: Self) -> Result<Self, BuildError> {
        if !next.assets.is_empty() {
            let what = "it begins with what the leg before left, and attaches nothing";
            return Err(BuildError::Onward { what });
        }
        let target = next.target()?;
        if target == Target::Home || self.target()? == Target::Home {
            let what = "each leg of a route needs a place: near an owner, or calls of the beacon";
            return Err(BuildError::Onward { what });
        }
        self.onward.push(Leg {
            target,
            operations: next.operations,
            minimum_outputs: next.minimum_outputs,
        });
        self.onward.extend(next.onward);
        if self.onward.len() >= usize::from(limits::HOPS_MAX) {
            let what = "a bundle runs on at most four chains";
            return Err(BuildError::Onward { what });
        }
        Ok(self)
    }

    /// Where the first part runs.
    fn target(&self) -> Result<Target, BuildError> {
        match (self.place, self.near) {
            (Some(Place::Beacon), Some(owner)) => Err(BuildError::Near { owner }),
            (Some(Place::Beacon), None) => Ok(Target::Beacon),
            (_, Some(owner)) => Ok(Target::Near(owner)),
            (_, None) => Ok(Target::Home),
        }
    }

    /// Whether it may run on another chain than the sender's, whose gas has a price of its own.
    ///
    /// # Errors
    /// When it contradicts itself about where it runs.
    pub fn leaves(&self) -> Result<bool, BuildError> {
        Ok(self.target()? != Target::Home)
    }

    /// The unsigned transaction.
    ///
    /// # Errors
    /// When the calls have no gas together.
    pub fn body(self, terms: &Terms) -> Result<TransactionBody, BuildError> {
        let bundle = Bundle {
            target: self.target()?,
            assets: self.assets,
            operations: self.operations,
            minimum_outputs: self.minimum_outputs,
            deadline: terms.valid_until,
            onward: self.onward,
        };
        let mut body = TransactionBody {
            version: Version,
            chain_id: terms.chain_id,
            sender: terms.sender,
            nonce: terms.nonce,
            valid_until: terms.valid_until,
            gas_limit: Gas::ZERO,
            gas_price: terms.gas_price,
            bundle,
        };
        body.gas_limit = gas_of(&body).map_err(BuildError::Gas)?;
        Ok(body)
    }

    /// The signed transaction.
    ///
    /// # Errors
    /// As [`Self::body`].
    pub fn sign(self, terms: &Terms, key: &SecretKey) -> Result<SignedTransaction, BuildError> {
        Ok(self.body(terms)?.sign(key))
    }
}
