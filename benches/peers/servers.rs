//! Starts the measured servers, each with its defaults but for the address and one worker thread.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::install::Tools;
use crate::subject::Subject;
use tidings::testkit::pinned::{Pinned, SERVER_CORE};

/// How long a server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(20);

/// What the server speaks in a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// BEP 15.
    Udp,
    /// BEP 3, without TLS.
    Http,
}

/// How much a bare responder answers to an announce.
#[derive(Debug, Clone, Copy)]
pub enum BareReply {
    /// UDP: this many peers.
    Peers(usize),
    /// HTTP: a body of this many bytes.
    Bytes(usize),
}

/// A server on the server core which answers on `address`.
#[derive(Debug)]
pub struct Server {
    /// Which one it is.
    pub subject: Subject,
    /// Its process.
    pub process: Pinned,
    /// Where it is reached.
    pub address: SocketAddrV4,
}

impl Server {
    /// Starts `subject` and waits until it answers.
    pub fn start(tools: &Tools, subject: Subject, transport: Transport, bare: BareReply) -> Result<Self> {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port(transport)?);
        let bind =
            if subject.is_wildcard() { SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, address.port()) } else { address };
        let (program, args) = match subject {
            Subject::Aquatic | Subject::AquaticWildcard => aquatic(tools, transport, bind)?,
            Subject::Tidings | Subject::TidingsWildcard => (tools.tidings.clone(), tidings_args(transport, bind)?),
            Subject::Reference => {
                (tools.reference.clone().context("--reference names none")?, tidings_args(transport, bind)?)
            }
            Subject::Bare | Subject::BareWildcard => (tools.bench.clone(), bare_args(bare, bind)),
        };
        let name = subject.name().replace(' ', "-");
        let process = Pinned::spawn(SERVER_CORE, &name, &tools.work, &program, args, Stdio::null())
            .with_context(|| format!("cannot start {subject}"))?;
        let mut server = Self { subject, process, address };
        server.wait_until_answering(transport).with_context(|| format!("{subject} on {bind}"))?;
        Ok(server)
    }

    /// Where its standard error goes.
    pub fn log(&self) -> PathBuf {
        self.process.log().to_owned()
    }

    fn wait_until_answering(&mut self, transport: Transport) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            self.process.check_alive()?;
            let answered = match transport {
                Transport::Udp => answers_connect(self.address)?,
                Transport::Http => TcpStream::connect_timeout(&self.address.into(), START_LIMIT).is_ok(),
            };
            if answered {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("no answer within {START_LIMIT:?}")
    }
}

/// One connect request of BEP 15; a refusal or silence is no answer yet.
fn answers_connect(address: SocketAddrV4) -> Result<bool> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    socket.connect(address)?;
    let request = [&0x0417_2710_1980_u64.to_be_bytes()[..], &[0; 8]].concat();
    Ok(socket.send(&request).and_then(|_| socket.recv(&mut [0; 64])).is_ok_and(|length| length == 16))
}

/// A port that the kernel found free. No process holds it until the server binds it.
fn free_port(transport: Transport) -> Result<u16> {
    let any = (Ipv4Addr::LOCALHOST, 0);
    Ok(match transport {
        Transport::Udp => UdpSocket::bind(any)?.local_addr()?.port(),
        Transport::Http => TcpListener::bind(any)?.local_addr()?.port(),
    })
}

fn aquatic(tools: &Tools, transport: Transport, bind: SocketAddrV4) -> Result<(PathBuf, Vec<String>)> {
    let (name, workers) = match transport {
        Transport::Udp => ("aquatic_udp", &["socket_workers"][..]),
        Transport::Http => ("aquatic_http", &["socket_workers", "swarm_workers"][..]),
    };
    let program = tools.peer(name)?;
    let mut config = default_config(&program)?;
    for key in workers {
        config.insert((*key).to_owned(), 1.into());
    }
    let network = config.get_mut("network").and_then(toml::Value::as_table_mut).context("no [network]")?;
    network.insert("address".to_owned(), bind.to_string().into());
    let path = tools.work.join(format!("{name}.toml"));
    write_config(&path, &config)?;
    Ok((program, vec!["-c".to_owned(), path.display().to_string()]))
}

fn tidings_args(transport: Transport, bind: SocketAddrV4) -> Result<Vec<String>> {
    let (on, off) = match transport {
        Transport::Udp => ("udp", "http"),
        Transport::Http => ("http", "udp"),
    };
    let settings = [
        format!("announce.{on}=[\"{bind}\"]"),
        format!("announce.{off}=[]"),
        "announce.threads=1".to_owned(),
        format!("ops.listen=\"127.0.0.1:{}\"", free_port(Transport::Http)?),
    ];
    let mut args = vec!["serve".to_owned()];
    args.extend(settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]));
    Ok(args)
}

fn bare_args(reply: BareReply, bind: SocketAddrV4) -> Vec<String> {
    let (command, amount) = match reply {
        BareReply::Peers(peers) => ("bare-udp", peers),
        BareReply::Bytes(bytes) => ("bare-http", bytes),
    };
    vec![command.to_owned(), bind.to_string(), amount.to_string()]
}

/// The default configuration that a program of aquatic prints.
pub fn default_config(program: &Path) -> Result<toml::Table> {
    let output =
        Command::new(program).arg("-p").output().with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(output.status.success(), "{} -p failed", program.display());
    Ok(String::from_utf8(output.stdout)?.parse()?)
}

/// Writes a configuration file.
pub fn write_config(path: &Path, config: &toml::Table) -> Result<()> {
    std::fs::write(path, toml::to_string(config)?).with_context(|| format!("cannot write {}", path.display()))
}
