//! The simulator as a user runs it: files, labels that a forest confirms, a broker that comes and goes.

#[allow(dead_code)] // each test file uses its part
mod program;
#[allow(dead_code)]
mod tables;
#[allow(dead_code)]
mod ward;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::{env, fs};

use flate2::read::GzDecoder;
use program::Scene;
use tables::{Cell, Rows};

fn simulate(scene: &Scene, arguments: &[&str]) -> program::Run {
    let run = scene.run(&[&["simulate"], arguments].concat());
    assert_eq!(run.status, 0, "{arguments:?}: {}", run.stderr);
    run
}

/// The labels: (timestamp, device) to fault.
fn labels(scene: &Scene, name: &str) -> BTreeMap<(i64, String), String> {
    let mut labels = BTreeMap::new();
    for row in csv::Reader::from_path(scene.path(name)).expect("labels").records() {
        let row = row.expect("a row");
        let at: jiff::Timestamp = row[0].parse().expect("a time");
        labels.insert((at.as_microsecond(), row[1].to_owned()), row[2].to_owned());
    }
    labels
}

/// (timestamp, device) of the rows of a table.
fn readings(scene: &Scene, table: &str) -> BTreeSet<(i64, String)> {
    let rows = Rows::of(&scene.path("out"), table);
    let column = |name: &str| rows.columns.iter().position(|c| c == name).expect("a column");
    let (timestamp, device) = (column("timestamp"), column("device_id"));
    let reading = |row: &Vec<Cell>| match (&row[timestamp], &row[device]) {
        (Cell::Integer(at), Cell::Text(device)) => (*at, device.clone()),
        other => panic!("no reading: {other:?}"),
    };
    rows.rows.iter().map(reading).collect()
}

#[test]
fn most_labelled_faults_are_anomalies_at_the_default_threshold() {
    let scene = Scene::empty();
    let ward = "--to input.jsonl --records 20000 --devices 400 --patients 400 --record-bytes 300 --anomalies 0.01 --anomalies-after 40s \
                --labels labels.csv --devices-file devices.csv";
    simulate(&scene, &ward.split_whitespace().collect::<Vec<_>>());
    let summary = scene.replay("realtime_analytics", "out", &["--devices", "devices.csv"]);
    summary.assert_accounted_for();
    assert_eq!(
        (summary.count("readings_out"), summary.count("unknown_devices")),
        (20_000, 0)
    );

    let (labels, anomalies) = (labels(&scene, "labels.csv"), readings(&scene, "anomalies"));
    let found = labels.keys().filter(|reading| anomalies.contains(*reading)).count();
    let false_alarms = anomalies.len() - found;
    let kinds: BTreeSet<&String> = labels.values().collect();
    assert!(
        kinds.len() >= 6 && labels.len() > 100,
        "{} labels of {kinds:?}",
        labels.len()
    );
    assert!(
        found * 100 >= labels.len() * 90,
        "{found} of {} were found",
        labels.len()
    );
    assert!(false_alarms <= 20, "{false_alarms} false alarms"); // one in a thousand readings
}

#[test]
fn blood_pressure_as_in_the_functions_documentation_is_told_apart() {
    let scene = Scene::empty();
    simulate(
        &scene,
        &[
            "--to",
            "input.jsonl",
            "--preset",
            "blood-pressure",
            "--labels",
            "labels.csv",
        ],
    );
    let measures = r#"record.measures=["systolic","diastolic"]"#;
    scene.replay(
        "realtime_analytics",
        "out",
        &["--set", measures, "--set", "forest.key=[]"],
    );
    let (labels, anomalies) = (labels(&scene, "labels.csv"), readings(&scene, "anomalies"));
    let after_learning: Vec<_> = labels.keys().filter(|(at, _)| *at > 1_508_039_755_000_000).collect();
    let found = after_learning
        .iter()
        .filter(|reading| anomalies.contains(**reading))
        .count();
    let kinds: BTreeSet<&str> = labels.values().map(String::as_str).collect();
    assert_eq!(kinds, BTreeSet::from(["hypertension", "hypotension"]));
    assert!((60..140).contains(&labels.len()), "{} labels", labels.len());
    assert!(
        found * 100 >= after_learning.len() * 50,
        "{found} of {}",
        after_learning.len()
    );
    assert!(
        anomalies.len() <= found + 20,
        "{} anomalies, {found} of them labelled",
        anomalies.len()
    );
}

/// The command is in datasets/README.md.
#[test]
fn the_labelled_sample_is_what_the_simulator_makes() {
    let scene = Scene::empty();
    let plan = "--to anomalies.jsonl.gz --records 12000 --devices 40 --patients 40 --rate 10 --record-bytes 0 --disorder 0.05 \
                --anomalies 0.01 --anomalies-after 3m --seed 6 --labels anomalies.labels.csv --devices-file anomalies.devices.csv";
    simulate(&scene, &plan.split_whitespace().collect::<Vec<_>>());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets");
    // What is in the packed file counts: another version of the library may pack it otherwise.
    let content = |path: &Path| {
        let mut content = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        if path.extension().is_some_and(|ending| ending == "gz") {
            let mut unpacked = Vec::new();
            let read = GzDecoder::new(&content[..]).read_to_end(&mut unpacked);
            read.expect("a whole gzip file");
            content = unpacked;
        }
        content
    };
    for name in ["anomalies.jsonl.gz", "anomalies.labels.csv", "anomalies.devices.csv"] {
        if env::var_os("WARDFLOW_REGENERATE").is_some() {
            fs::copy(scene.path(name), folder.join(name)).expect("a writable checkout");
        }
        assert!(
            content(&scene.path(name)) == content(&folder.join(name)),
            "{name} is not what the simulator makes; see datasets/README.md"
        );
    }
}

#[test]
fn the_same_records_come_in_every_kind_of_file() {
    let scene = Scene::empty();
    let plan = "--devices 50 --disorder 0.2 --duplicates 0.1 --bad 0.1 --anomalies 0.02 --seed 7 --for 60s";
    let plan: Vec<&str> = plan.split_whitespace().collect();
    for name in ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"] {
        simulate(&scene, &[&["--to", name], &plan[..]].concat());
    }
    let plain = fs::read(scene.path("a.jsonl")).expect("a file");
    let (mut gzip, packed) = (Vec::new(), fs::read(scene.path("a.jsonl.gz")).expect("a file"));
    GzDecoder::new(&packed[..])
        .read_to_end(&mut gzip)
        .expect("a whole gzip file");
    let zstandard =
        zstd::decode_all(&fs::read(scene.path("a.jsonl.zst")).expect("a file")[..]).expect("a whole zstd file");
    assert_eq!(plain.iter().filter(|byte| **byte == b'\n').count(), 60 * 50);
    assert!(plain == gzip && plain == zstandard);

    let piped = scene
        .command(&[&["simulate", "--to", "-"], &plan[..]].concat())
        .output()
        .expect("it starts");
    assert!(piped.stdout == plain);
    let paced = ["--to", "b.jsonl", "--paced", "--rate", "3000", "--records", "750"];
    simulate(&scene, &paced);
    let lines = fs::read_to_string(scene.path("b.jsonl"))
        .expect("a file")
        .lines()
        .count();
    assert_eq!(lines, 750);
}

#[test]
fn mistakes_are_told_in_one_line_and_cost_no_file() {
    let scene = Scene::empty();
    scene.write("there.jsonl", "mine\n");
    let wrong: [(&[&str], &str); 6] = [
        (
            &["--to", "there.jsonl"],
            "there.jsonl: exists already; give another name, or --force",
        ),
        (
            &["--to", "new.jsonl", "--labels", "there.jsonl"],
            "there.jsonl: exists already",
        ),
        (
            &["--to", "new.jsonl", "--labels", "new.jsonl", "--force"],
            "new.jsonl: is to hold two things",
        ),
        (
            &["--to", "new.jsonl", "--bad", "2"],
            "a share of 2 bad: give a number from 0 to 1",
        ),
        (&["--to", "no/such/folder/new.jsonl"], "check the folder"),
        (
            &["--to", "mqtt://127.0.0.1:9"],
            "no connection to an MQTT broker at 127.0.0.1:9",
        ),
    ];
    for (arguments, told) in wrong {
        let run = scene.run(&[&["simulate"], arguments].concat());
        assert_eq!(run.status, 1, "{arguments:?}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(run.stderr.contains(told), "{}", run.stderr);
    }
    for usage in [
        ["--to", "new.csv"],
        ["--to", "mqtts://localhost"],
        ["--to", "mqtt://localhost:0"],
    ] {
        assert_eq!(scene.run(&[&["simulate"], &usage[..]].concat()).status, 2);
    }
    assert!(!scene.path("new.jsonl").exists());
    assert_eq!(fs::read(scene.path("there.jsonl")).expect("a file"), b"mine\n");
    simulate(&scene, &["--to", "there.jsonl", "--force", "--records", "3"]);
    assert_eq!(
        fs::read_to_string(scene.path("there.jsonl"))
            .expect("a file")
            .lines()
            .count(),
        3
    );
}

#[cfg(feature = "broker")]
mod broker {
    use std::collections::BTreeSet;
    use std::io::{self, Read, Write};
    use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread::{self, JoinHandle};

    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::Packet;
    use rumqttc::v5::{Client, Event, MqttOptions};
    use wardflow::broker;
    use wardflow::simulate::{Broker, Plan, PublishError, Record, Simulation, publish};

    use super::{Scene, simulate};

    /// Hears a topic from before this returns until it has heard the wanted number of different payloads.
    fn listen(address: SocketAddr, wanted: usize) -> JoinHandle<BTreeSet<Vec<u8>>> {
        let options = MqttOptions::new("listener", address.ip().to_string(), address.port());
        let (client, mut connection) = Client::new(options, 10);
        client
            .subscribe(Broker::TOPIC, QoS::AtLeastOnce)
            .expect("room for a request");
        for event in connection.iter() {
            if let Event::Incoming(Packet::SubAck(_)) = event.expect("the broker is there") {
                break;
            }
        }
        thread::spawn(move || {
            let _open = client;
            let mut heard = BTreeSet::new();
            while heard.len() < wanted {
                if let Ok(Ok(Event::Incoming(Packet::Publish(message)))) = connection.recv() {
                    heard.insert(message.payload.to_vec());
                }
            }
            heard
        })
    }

    fn plan() -> Plan {
        Plan {
            rate: 4000.0,
            record_bytes: 500,
            ..Plan::default()
        }
    }

    fn records(count: usize) -> Vec<Record> {
        Simulation::new(plan())
            .expect("a plan that can be")
            .take(count)
            .collect()
    }

    fn payloads(records: &[Record]) -> BTreeSet<Vec<u8>> {
        records.iter().map(|record| record.payload.clone()).collect()
    }

    fn at(address: SocketAddr, client_id: &str) -> Broker {
        let broker = Broker::parse(&format!("mqtt://{address}")).expect("an address");
        Broker {
            client_id: client_id.into(),
            ..broker
        }
    }

    #[test]
    fn every_record_is_acknowledged_and_arrives_and_none_before_it_is_due() {
        let address = broker::start().expect("a broker");
        let records = records(3000);
        let listener = listen(address, records.len());
        let last = records.last().map_or(0.0, |record| record.due);
        let mut seen = 0;
        let broker = at(address, "ward");
        let counts = publish(
            records.clone().into_iter(),
            &broker,
            || false,
            |counts| seen = counts.acknowledged,
        );
        let counts = counts.expect("the broker is there");
        assert_eq!(
            (counts.published, counts.acknowledged, counts.refused, seen),
            (3000, 3000, 0, 3000)
        );
        assert!(counts.seconds >= last, "{counts:?}");
        assert!(listener.join().expect("it has heard all") == payloads(&records));
    }

    #[test]
    fn a_stop_ends_it_and_the_counts_are_of_what_was_sent() {
        let address = broker::start().expect("a broker");
        let (endless, asked) = (Simulation::new(plan()).expect("a plan that can be"), AtomicU64::new(0));
        let stop = || asked.fetch_add(1, Ordering::Relaxed) > 500;
        let counts = publish(endless, &at(address, "ward"), stop, |_| ()).expect("the broker is there");
        assert!(counts.published > 0 && counts.published <= 501, "{counts:?}");
        assert_eq!(counts.acknowledged, counts.published);
    }

    /// What goes through is cut off after so many bytes, once; later connections live.
    fn cut_once(broker: SocketAddr, after: u64) -> SocketAddr {
        let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = door.local_addr().expect("it is bound");
        thread::spawn(move || {
            for (i, client) in door.incoming().enumerate() {
                let (mut client, mut server) = (
                    client.expect("a client"),
                    TcpStream::connect(broker).expect("the broker is there"),
                );
                let (mut back, mut answers) = (
                    client.try_clone().expect("a socket"),
                    server.try_clone().expect("a socket"),
                );
                thread::spawn(move || io::copy(&mut answers, &mut back));
                thread::spawn(move || {
                    let (mut passed, mut buffer) = (0, [0; 4096]);
                    while let Ok(read @ 1..) = client.read(&mut buffer) {
                        passed += read as u64;
                        if server.write_all(&buffer[..read]).is_err() || (i == 0 && passed > after) {
                            break;
                        }
                    }
                    // Both may be gone already.
                    let _ = client.shutdown(Shutdown::Both);
                    let _ = server.shutdown(Shutdown::Both);
                });
            }
        });
        address
    }

    #[test]
    fn a_lost_connection_is_made_again_and_loses_nothing() {
        let address = broker::start().expect("a broker");
        let records = records(2000);
        let listener = listen(address, records.len());
        let door = cut_once(address, 200_000);
        let counts = publish(records.clone().into_iter(), &at(door, "ward"), || false, |_| ()).expect("it comes back");
        assert_eq!((counts.published, counts.acknowledged), (2000, 2000));
        assert!(counts.behind > 0.1, "it was away for a while: {counts:?}");
        assert!(listener.join().expect("it has heard all") == payloads(&records));
    }

    #[test]
    fn the_command_publishes_the_records_of_a_file() {
        let address = broker::start().expect("a broker");
        let scene = Scene::empty();
        let plan = ["--records", "500", "--devices", "40", "--start", "2026-01-01T00:00:00Z"];
        simulate(&scene, &[&["--to", "a.jsonl"], &plan[..]].concat());
        let file = std::fs::read(scene.path("a.jsonl")).expect("a file");
        let listener = listen(address, 500);
        let url = format!("mqtt://{address}");
        let run = simulate(&scene, &[&["--to", &url, "--unpaced"], &plan[..]].concat());
        assert!(
            run.stderr.contains("500 records published") && run.stderr.contains("500 acknowledged"),
            "{}",
            run.stderr
        );
        let lines = file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        assert!(listener.join().expect("it has heard all") == lines.map(<[u8]>::to_vec).collect());
    }

    #[test]
    fn a_broker_that_is_not_there_and_a_topic_that_is_none_are_told() {
        let nowhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
        let broker = at(nowhere.expect("a free port"), "ward");
        let error = publish(records(1).into_iter(), &broker, || false, |_| ()).expect_err("nobody is there");
        assert!(matches!(error, PublishError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("start one there"), "{error}");
        let wild = Broker {
            topic: "ward/#".into(),
            ..broker
        };
        let error = publish(records(1).into_iter(), &wild, || false, |_| ()).expect_err("no topic");
        assert!(matches!(error, PublishError::Topic { .. }), "{error}");
    }
}
