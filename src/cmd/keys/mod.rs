//! `tidings keys`: creates the keys of a cluster's nodes, and rotates those that they share.

mod authority;
mod error;
mod files;
mod node_dirs;
mod rotate;

use std::path::PathBuf;

use clap::Subcommand;

use super::failure::Failure;
use super::output::print;
use error::KeysError;
use node_dirs::SharedFiles;
use rotate::{Step, What};

/// Create the keys of a cluster's nodes, and rotate those that the nodes share
///
/// DIR is a directory on a safe machine that is not a node. It has ca.pem and ca.key, the certificate authority of the
/// cluster, and a directory for each node, to be copied to that node:
///
///   ca.pem               the authority's certificate
///   node.pem, node.key   the node's certificate and its private key
///   gossip.keys          the keys that encrypt gossip, the same on all nodes
///   secret               the keys of placement and connection ids, the same on all nodes
///
/// With ca.key anyone can create nodes, so never copy it out of DIR.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  tidings keys init ~/tracker-keys --node eu-1 eu-2 us-1
  tidings keys add ~/tracker-keys --node us-2
  tidings keys rotate ~/tracker-keys gossip

Then copy ~/tracker-keys/eu-1 to the node eu-1 and set cluster.keys to its path there, and so on for each node."
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create an authority, new shared keys, and a directory for each node
    Init(Init),
    /// Create directories for further nodes of a cluster
    Add(Nodes),
    /// Replace a key that all nodes share, one step at a time, while the cluster runs
    Rotate(Rotate),
}

#[derive(Debug, clap::Args)]
struct Init {
    #[command(flatten)]
    nodes: Nodes,
    /// Keep existing keys and create only missing ones
    #[arg(long)]
    if_missing: bool,
}

#[derive(Debug, clap::Args)]
struct Nodes {
    /// The directory with the keys of the whole cluster
    dir: PathBuf,
    /// The nodes, by node.id
    #[arg(long = "node", value_name = "ID", required = true, num_args = 1..)]
    nodes: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
There are three steps. After each, copy the changed file to all nodes and send them SIGHUP:
  add    a new key is accepted, but not used yet
  use    the new key is used, the old one still accepted
  drop   the old key is no longer accepted
Do each step only after the last one has reached every node; then nothing is interrupted. Without --step the next step is
done. After `use`, wait three minutes before `drop`: clients may still have a connection id made with the old key.")]
struct Rotate {
    /// The directory with the keys of the whole cluster
    dir: PathBuf,
    /// The key to replace
    what: What,
    /// The step, if not the next one
    #[arg(long)]
    step: Option<Step>,
}

impl Args {
    /// Creates or rotates keys.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn run(self) -> Result<(), Failure> {
        print(&self.action.run()?)
    }
}

impl Action {
    /// Returns the text to print.
    fn run(self) -> Result<String, KeysError> {
        match self {
            Self::Init(Init { nodes, if_missing: false }) => nodes.init(),
            Self::Init(Init { nodes, if_missing: true }) => nodes.complete(),
            Self::Add(nodes) => nodes.add(),
            Self::Rotate(Rotate { dir, what, step }) => rotate::rotate(&dir, what, step),
        }
    }
}

impl Nodes {
    fn init(&self) -> Result<String, KeysError> {
        let Self { dir, nodes } = self;
        node_dirs::check_new(dir, nodes)?;
        node_dirs::check_no_authority(dir)?;
        let authority = authority::Authority::new()?;
        files::make_dir(dir)?;
        authority.save(dir)?;
        let shared = SharedFiles::random();
        for id in nodes {
            node_dirs::make_node(dir, id, &authority, &shared)?;
        }
        Ok(format!("{}Keep {}/ca.key off the nodes: anyone who has it can create nodes.\n", self.made(), dir.display()))
    }

    /// Does what is missing: `init`, `add` for nodes that have no directory yet, or nothing.
    fn complete(&self) -> Result<String, KeysError> {
        let Self { dir, nodes } = self;
        if node_dirs::check_no_authority(dir).is_ok() {
            return self.init();
        }
        let missing: Vec<_> = nodes.iter().filter(|id| !dir.join(id).exists()).cloned().collect();
        if missing.is_empty() {
            return Ok(format!("All {} nodes have keys in {}; they stay as they are.\n", nodes.len(), dir.display()));
        }
        Self { dir: dir.clone(), nodes: missing }.add()
    }

    fn add(&self) -> Result<String, KeysError> {
        let Self { dir, nodes } = self;
        node_dirs::check_new(dir, nodes)?;
        let authority = authority::Authority::load(dir)?;
        let shared = SharedFiles::load(dir)?;
        for id in nodes {
            node_dirs::make_node(dir, id, &authority, &shared)?;
        }
        Ok(self.made())
    }

    fn made(&self) -> String {
        let lines: String = self.nodes.iter().map(|id| format!("  {}\n", self.dir.join(id).display())).collect();
        format!(
            "Created the keys of {} nodes:\n{lines}Copy each directory to its node and set cluster.keys to its path there.\n",
            self.nodes.len()
        )
    }
}

#[cfg(test)]
mod tests;
