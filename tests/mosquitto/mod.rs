//! A Mosquitto of a test's own, and a proxy before it that fails on demand.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

pub struct Mosquitto {
    pub port: u16,
    pub folder: TempDir,
    /// A port without encryption, for the test's own publishers.
    publishing: u16,
    login: Vec<String>,
    process: Child,
}

impl Mosquitto {
    /// With further lines of configuration; `{folder}` is the broker's.
    pub fn start(more: &str) -> Mosquitto {
        let port = free_port();
        let folder = TempDir::new().expect("a folder");
        let mut login = Vec::new();
        if more.contains("password_file") {
            let made = Command::new("mosquitto_passwd")
                .args(["-b", "-c"])
                .arg(folder.path().join("users"))
                .args(["ward", "s3cret:%"])
                .stderr(Stdio::null())
                .status();
            assert!(made.expect("mosquitto_passwd").success());
            login = ["-u", "ward", "-P", "s3cret:%"].map(String::from).into();
        }
        fs::write(folder.path().join("acl"), "topic readwrite t\n").expect("a file");
        let anonymous = if more.contains("allow_anonymous") {
            ""
        } else {
            "allow_anonymous true\n"
        };
        let listener = format!("listener {port} 127.0.0.1\n{anonymous}");
        Mosquitto::configured(port, port, folder, login, &(listener + more))
    }

    /// Where another one has been.
    pub fn start_at(port: u16) -> Mosquitto {
        let folder = TempDir::new().expect("a folder");
        let configuration = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
        Mosquitto::configured(port, port, folder, Vec::new(), &configuration)
    }

    /// With a port that wants certificates, which are in its folder.
    pub fn start_encrypted() -> Mosquitto {
        let (port, plain) = (free_port(), free_port());
        let folder = TempDir::new().expect("a folder");
        let script = r#"set -e
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -days 2 -subj "/CN=a ward's CA"
            for name in server client; do
                openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout $name.key -out $name.csr -subj "/CN=$name"
                printf "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n" > $name.ext
                openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out $name.pem -days 2 -extfile $name.ext
            done
            chmod a+r *"#;
        let made = Command::new("sh")
            .args(["-c", script])
            .current_dir(folder.path())
            .output()
            .expect("a shell");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let configuration = format!(
            "listener {plain} 127.0.0.1\nallow_anonymous true\nlistener {port}\ncafile {{folder}}/ca.pem\ncertfile {{folder}}/server.pem\nkeyfile {{folder}}/server.key\nrequire_certificate true\n"
        );
        Mosquitto::configured(port, plain, folder, Vec::new(), &configuration)
    }

    fn configured(port: u16, publishing: u16, folder: TempDir, login: Vec<String>, configuration: &str) -> Mosquitto {
        let place = folder.path().display().to_string();
        // Started by root it would change its user, who may not write there.
        let configuration =
            format!("user root\npersistence_location {place}/\n{configuration}").replace("{folder}", &place);
        fs::write(folder.path().join("conf"), configuration).expect("a file");
        let process = run(&folder, publishing);
        Mosquitto {
            port,
            folder,
            publishing,
            login,
            process,
        }
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Ends it in order and starts it again.
    pub fn restart(&mut self) {
        let process = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("it runs");
        self.process.wait().expect("it ends");
        self.process = run(&self.folder, self.publishing);
    }

    /// Publishes the payloads with QoS 1, by a client that is not ours, and waits until the broker has them.
    pub fn publish(&self, topic: &str, payloads: &[String]) {
        let mut publisher = self
            .client()
            .args(["-q", "1", "-t", topic, "-l"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub");
        let mut lines = payloads.join("\n");
        lines.push('\n');
        let mut input = publisher.stdin.take().expect("a pipe was asked for");
        input.write_all(lines.as_bytes()).expect("it reads");
        drop(input);
        assert!(publisher.wait().expect("it ends").success());
    }

    pub fn retain(&self, topic: &str, payload: &str) {
        let sent = self
            .client()
            .args(["-q", "1", "-r", "-t", topic, "-m", payload])
            .status();
        assert!(sent.expect("mosquitto_pub").success());
    }

    fn client(&self) -> Command {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &self.publishing.to_string()]);
        command.args(&self.login);
        command
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended itself
        let _ = self.process.wait();
    }
}

fn run(folder: &TempDir, port: u16) -> Child {
    let log = fs::File::create(folder.path().join("log")).expect("a file");
    let mut process = Command::new("mosquitto")
        .arg("-c")
        .arg(folder.path().join("conf"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("mosquitto is installed, and on the path");
    for _ in 0..400 {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return process;
        }
        thread::sleep(Duration::from_millis(25));
    }
    let _ = process.kill(); // it may have ended itself
    let _ = process.wait();
    let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    panic!("mosquitto does not answer: {log}");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it has one").port()
}

/// Passes bytes on, until told otherwise.
pub struct Proxy {
    port: u16,
    stalled: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    pub fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let own = listener.local_addr().expect("it has one").port();
        let stalled = Arc::new(AtomicBool::new(false));
        let streams = Arc::new(Mutex::new(Vec::new()));
        let (stall, all) = (Arc::clone(&stalled), Arc::clone(&streams));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
                    continue; // dropped: the client sees its end
                };
                for (from, to) in [(&client, &broker), (&broker, &client)] {
                    let (from, to) = (from.try_clone().expect("a stream"), to.try_clone().expect("a stream"));
                    let stall = Arc::clone(&stall);
                    thread::spawn(move || pass(from, to, &stall));
                }
                all.lock().expect("nobody panics").extend([client, broker]);
            }
        });
        Proxy {
            port: own,
            stalled,
            streams,
        }
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Ends all connections.
    pub fn cut(&self) {
        for stream in self.streams.lock().expect("nobody panics").drain(..) {
            let _ = stream.shutdown(Shutdown::Both); // it may be closed already
        }
    }

    /// Passes nothing on, as a network that has gone without a word.
    pub fn stall(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, stalled: &AtomicBool) {
    let mut bytes = vec![0; 64 << 10];
    let passed: io::Result<()> = (|| {
        loop {
            let count = from.read(&mut bytes)?;
            if count == 0 {
                return Ok(());
            }
            while stalled.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(10));
            }
            to.write_all(&bytes[..count])?;
        }
    })();
    let _ = passed; // the end of either is the end of both
    let _ = to.shutdown(Shutdown::Both);
}
