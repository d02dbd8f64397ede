//! The commands `docker` and `docker-compose`, each with a limit.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// What tests label all that Compose does not label for them, with the name of their project.
pub const LABEL: &str = "org.tidings.test";
/// What Compose labels all that it makes.
const COMPOSE_LABEL: &str = "com.docker.compose.project";
/// Of the names of all projects of tests; the id of their process follows.
const PREFIX: &str = "tidings-test-";
/// Seconds that a command may take.
const LIMIT: u32 = 240;

/// What this machine lacks.
pub fn missing() -> Option<String> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let find = || {
        if !run(command(LIMIT, "docker").args(["info", "--format", "{{.ServerVersion}}"])).status.success() {
            return Some("no Docker engine answers: install docker.io and docker-compose, and start it".to_owned());
        }
        compose_program().is_none().then(|| "neither docker-compose nor docker compose is installed".to_owned())
    };
    MISSING.get_or_init(find).clone()
}

/// Docker Compose, of the first or the second version.
fn compose_program() -> Option<&'static [&'static str]> {
    static PROGRAM: OnceLock<Option<&[&str]>> = OnceLock::new();
    let works = |words: &&&[&str]| {
        let mut command = command(LIMIT, words[0]);
        run(command.args(&words[1..]).arg("version")).status.success()
    };
    *PROGRAM.get_or_init(|| [&["docker-compose"][..], &["docker", "compose"]].iter().find(works).copied())
}

/// A command that is ended when its time is over.
pub fn command(limit: u32, program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", &limit.to_string(), program]).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a command prints; it has to succeed.
pub fn output(command: &mut Command) -> String {
    let output = run(command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {} {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// What `docker` prints; it has to succeed.
pub fn docker(arguments: &[&str]) -> String {
    output(command(LIMIT, "docker").args(arguments))
}

/// `docker`, which may fail.
pub fn try_docker(arguments: &[&str]) -> Option<String> {
    let output = run(command(LIMIT, "docker").args(arguments));
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// A command of Docker Compose in a directory.
pub fn compose(directory: &Path) -> Command {
    let program = compose_program().expect("tests are skipped without it");
    let mut command = command(LIMIT, program[0]);
    command.args(&program[1..]).current_dir(directory);
    command
}

/// The name of the project of this process.
pub fn project() -> String {
    format!("{PREFIX}{}", std::process::id())
}

/// What there is of a project: containers, networks, volumes.
pub fn leftovers(project: &str) -> [Vec<String>; 3] {
    [&["ps", "--all"][..], &["network", "ls"], &["volume", "ls"]].map(|list| {
        let labelled = |label: &str| {
            let filter = format!("label={label}={project}");
            docker(&[list, &["--quiet", "--filter", &filter]].concat())
        };
        [LABEL, COMPOSE_LABEL].map(labelled).join("\n").split_whitespace().map(str::to_owned).collect()
    })
}

/// Removes all that there is of a project, but for its image.
pub fn remove(project: &str) {
    let removals = [&["rm", "--force", "--volumes"][..], &["network", "rm"], &["volume", "rm", "--force"]];
    for (remove, names) in removals.iter().zip(leftovers(project)) {
        for name in &names {
            // Others may have removed it meanwhile.
            let _ = try_docker(&[remove, &[name.as_str()][..]].concat());
        }
    }
}

/// Removes the image that was made for a project.
pub fn remove_image(project: &str) {
    let image = format!("{project}:latest");
    if try_docker(&["image", "inspect", &image]).is_some() {
        let _ = try_docker(&["rmi", &image]);
    }
}

/// Removes what runs that were killed have left behind.
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
