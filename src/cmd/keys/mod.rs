//! `tidings keys`: makes the keys of a cluster's nodes, and rotates those that they share.

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

/// Make the keys of a cluster's nodes, and rotate those that the nodes share
///
/// DIR is a directory on a safe machine that is not a node. It holds ca.pem and ca.key, the cluster's own certificate
/// authority, and a directory for each node, which is copied to that node:
///
///   ca.pem               the authority's certificate
///   node.pem, node.key   the node's certificate and its private key
///   gossip.keys          the keys that seal gossip, the same on all nodes
///   secret               the keys of placement and connection ids, the same on all nodes
///
/// Whoever has ca.key can make nodes: it never leaves DIR.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  tidings keys init ~/tracker-keys --node eu-1 eu-2 us-1
  tidings keys add ~/tracker-keys --node us-2
  tidings keys rotate ~/tracker-keys gossip

Then copy ~/tracker-keys/eu-1 to the node eu-1, name its place there in cluster.keys, and so on for each node."
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an authority, new shared keys, and a directory for each node
    Init(Init),
    /// Make directories for further nodes of a cluster that `init` has made
    Add(Nodes),
    /// Replace a key that all nodes share, one step at a time, while the cluster runs
    Rotate(Rotate),
}

#[derive(Debug, clap::Args)]
struct Init {
    #[command(flatten)]
    nodes: Nodes,
    /// Leave what is there as it is, and make only what is missing
    #[arg(long)]
    if_missing: bool,
}

#[derive(Debug, clap::Args)]
struct Nodes {
    /// Where the keys of the whole cluster are kept
    dir: PathBuf,
    /// The nodes, by their node.id
    #[arg(long = "node", value_name = "ID", required = true, num_args = 1..)]
    nodes: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Three steps, each followed by copying the changed file to all nodes and sending each of them SIGHUP:
  add    a new key is accepted, but not used yet
  use    the new key is used, the old one still accepted
  drop   the old key is no longer accepted
No step takes effect before the last one has reached every node, so nothing is interrupted. Without --step the next one is
done. After `use`, wait three minutes with `drop` for clients that still have a connection id made with the old key.")]
struct Rotate {
    /// Where the keys of the whole cluster are kept
    dir: PathBuf,
    /// The key to replace
    what: What,
    /// The step, when it should not be the next one
    #[arg(long)]
    step: Option<Step>,
}

impl Args {
    /// Makes or rotates keys.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn run(self) -> Result<(), Failure> {
        print(&self.action.run()?)
    }
}

impl Action {
    /// What there is to be said afterwards.
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
        Ok(format!("{}Keep {}/ca.key off the nodes: whoever has it can make nodes.\n", self.made(), dir.display()))
    }

    /// `init`, or `add` for those that have no directory yet, or nothing.
    fn complete(&self) -> Result<String, KeysError> {
        let Self { dir, nodes } = self;
        if node_dirs::check_no_authority(dir).is_ok() {
            return self.init();
        }
        let missing: Vec<_> = nodes.iter().filter(|id| !dir.join(id).exists()).cloned().collect();
        if missing.is_empty() {
            return Ok(format!("All {} nodes have keys in {}, which stay as they are.\n", nodes.len(), dir.display()));
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
            "Made the keys of {} nodes:\n{lines}Copy each to its node and name its place there in cluster.keys.\n",
            self.nodes.len()
        )
    }
}

#[cfg(test)]
mod tests;
