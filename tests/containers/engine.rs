//! The commands `docker` and `docker-compose`, each with a limit.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The label of what tests create without Compose; its value is the project.
pub const LABEL: &str = "org.tidings.test";
/// The label of all that Compose creates.
const COMPOSE_LABEL: &str = "com.docker.compose.project";
/// The prefix of the projects of tests, before the process id.
const PREFIX: &str = "tidings-test-";
/// Seconds after which a command is killed.
const LIMIT: u32 = 600;

/// What this machine lacks for these tests.
pub fn missing() -> Option<String> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let find = || {
        if !run(command(LIMIT, "docker").args(["info", "--format", "{{.ServerVersion}}"])).status.success() {
            return Some("no Docker engine answers: install docker.io and docker-compose, and start it".to_owned());
        }
        let compose = Compose::any().is_none();
        compose.then(|| "neither docker-compose nor docker compose is installed".to_owned())
    };
    MISSING.get_or_init(find).clone()
}

#[derive(Clone, Copy, Debug)]
pub struct Compose(&'static Found);

/// An installed Docker Compose: the first words of its commands, and its version.
#[derive(Debug)]
struct Found {
    words: Vec<String>,
    version: String,
}

impl Compose {
    /// The first that is installed.
    pub fn any() -> Option<Self> {
        Self::all().first().map(Self)
    }

    /// Version 2 or later, which `tests/setup` puts into the target directory.
    pub fn second() -> Option<Self> {
        Self::all().iter().find(|found| !found.version.starts_with("1.")).map(Self)
    }

    fn all() -> &'static [Found] {
        static ALL: OnceLock<Vec<Found>> = OnceLock::new();
        ALL.get_or_init(|| {
            let tools = concat!(env!("CARGO_TARGET_TMPDIR"), "/../tools/docker");
            let all = [&["docker-compose"][..], &["docker", "compose"], &["docker", "--config", tools, "compose"]];
            let version = |words: &[&str]| {
                let printed = run(command(LIMIT, words[0]).args(&words[1..]).args(["version", "--short"]));
                let version = String::from_utf8_lossy(&printed.stdout).trim().trim_start_matches('v').to_owned();
                let words = words.iter().copied().map(str::to_owned).collect();
                printed.status.success().then_some(Found { words, version })
            };
            all.into_iter().filter_map(version).collect()
        })
    }

    pub fn version(self) -> &'static str {
        &self.0.version
    }

    pub fn command(self, directory: &Path) -> Command {
        let mut command = command(LIMIT, &self.0.words[0]);
        command.args(&self.0.words[1..]).current_dir(directory);
        command
    }
}

/// A command that is killed after `limit` seconds.
pub fn command(limit: u32, program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", &limit.to_string(), program]).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a command, which has to succeed, and returns its output.
pub fn output(command: &mut Command) -> String {
    let output = run(command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {} {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Runs `docker`, which has to succeed, and returns its output.
pub fn docker(arguments: &[&str]) -> String {
    output(command(LIMIT, "docker").args(arguments))
}

/// Runs `docker`, which may fail.
pub fn try_docker(arguments: &[&str]) -> Option<String> {
    let output = run(command(LIMIT, "docker").args(arguments));
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// The Compose project of this process.
pub fn project() -> String {
    format!("{PREFIX}{}", std::process::id())
}

/// The containers, networks and volumes of a project.
pub fn leftovers(project: &str) -> [Vec<String>; 3] {
    [&["ps", "--all"][..], &["network", "ls"], &["volume", "ls"]].map(|list| {
        let labelled = |label: &str| {
            let filter = format!("label={label}={project}");
            docker(&[list, &["--quiet", "--filter", &filter]].concat())
        };
        [LABEL, COMPOSE_LABEL].map(labelled).join("\n").split_whitespace().map(str::to_owned).collect()
    })
}

/// Removes everything of a project except its image.
pub fn remove(project: &str) {
    let removals = [&["rm", "--force", "--volumes"][..], &["network", "rm"], &["volume", "rm", "--force"]];
    for (remove, names) in removals.iter().zip(leftovers(project)) {
        for name in &names {
            // It may have been removed in the meantime.
            let _ = try_docker(&[remove, &[name.as_str()][..]].concat());
        }
    }
}

/// Removes the image of a project.
pub fn remove_image(project: &str) {
    let image = format!("{project}:latest");
    if try_docker(&["image", "inspect", &image]).is_some() {
        let _ = try_docker(&["rmi", &image]);
    }
}

/// Removes what killed runs have left behind.
pub fn remove_stale() {
    let format = |label: &str| format!("{{{{.Label \"{label}\"}}}}");
    let mut projects = Vec::new();
    for list in [&["ps", "--all"][..], &["network", "ls"], &["volume", "ls"]] {
        for label in [LABEL, COMPOSE_LABEL] {
            projects.extend(docker(&[list, &["--format", &format(label)]].concat()).lines().map(str::to_owned));
        }
    }
    projects.sort();
    projects.dedup();
    let ended =
        |project: &&String| project.strip_prefix(PREFIX).is_some_and(|id| !Path::new("/proc").join(id).exists());
    for project in projects.iter().filter(ended) {
        remove(project);
        remove_image(project);
    }
}
