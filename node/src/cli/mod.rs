//! The command line: `skerry <command>`.
//!
//! Contract: standard output holds the result and nothing else, standard error everything else;
//! `--json` changes the form, never the channel, and never prompts. A command gives an [`Output`]
//! or a [`CliError`]; `output` prints either and chooses the exit code. The long-running commands
//! (`node start`, `devnet up`, `faucet serve`) are only parsed here.
//!
//! | file | commands |
//! |---|---|
//! | [`args`] | the options of all commands |
//! | `keys` | `keys …` |
//! | `votes` | `keys votes …` |
//! | `tx`, `bundle`, `estimate`, `trace`, `token`, `stake`, `pool` | `tx …`; `pool` also `query pool` and `query quote` |
//! | `query` | `query …` |
//! | `genesis` | `genesis …` |
//! | `node` | `node init`, `node status`, `devnet status` and `devnet faucet` |

pub mod args;
mod bundle;
mod estimate;
mod genesis;
mod keys;
mod node;
pub mod output;
mod passphrase;
mod pool;
mod query;
mod stake;
#[cfg(test)]
mod tests;
mod token;
mod trace;
mod tx;
mod votes;

pub use node::wait_until_live;
pub use output::{CliError, Exit, Output};

use args::{Cli, Command};
use clap::Parser as _;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command line `arguments` (the program's name first) and prints the result.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let json = arguments.iter().any(|argument| argument == "--json");
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && json => {
            let text = error.render().to_string();
            let usage = CliError::new(Exit::Usage, "USAGE", text.trim_end())
                .next("skerry --help lists all commands and options");
            return output::finish(Err(usage), true);
        }
        Err(error) => {
            // Help and version go to standard output, mistakes to standard error.
            let printed = error.print();
            let code = if error.use_stderr() || printed.is_err() {
                Exit::Usage
            } else {
                Exit::Done
            };
            return code.into();
        }
    };
    let json = cli.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return output::finish(Err(CliError::unexpected(error)), json),
    };
    let result = runtime.block_on(run(cli));
    output::finish(result, json)
}

async fn run(cli: Cli) -> Result<Output, CliError> {
    let json = cli.json;
    match cli.command {
        Command::Keys(command) => keys::run(command, json),
        Command::Tx(command) => tx::run(command, json).await,
        Command::Query(command) => query::run(command).await,
        Command::Genesis(command) => genesis::run(command),
        Command::Node(command) => node::run(command).await,
        Command::Devnet(command) => node::run_devnet(command, json).await,
        Command::Faucet(args::FaucetCommand::Serve(args)) => {
            let stop = async {
                match crate::start::stop_signal() {
                    Ok(signal) => signal.await,
                    // Without signals the process is ended from outside.
                    Err(_) => std::future::pending().await,
                }
            };
            crate::faucet::serve(args, stop)
                .await
                .map_err(CliError::unexpected)?;
            Ok(Output::silent())
        }
        Command::Bench(args) => crate::bench::run(args).await,
        Command::Db(args::DbCommand::Verify(args)) => crate::verify::run(&args)?.into_output(),
    }
}
