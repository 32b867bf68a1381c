//! The MQTT source against a real Mosquitto, with the network's and the broker's failures. Needs mosquitto and openssl on the path.

#[allow(dead_code)] // each test uses its part
mod mosquitto;

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use mosquitto::{Mosquitto, Proxy};
use wardflow::settings::{Protocol, Source};
use wardflow::source::{Connectivity, Message, Subscription, subscribe};

/// Longer than anything here takes; a test that hangs shall fail.
const LONG: Duration = Duration::from_secs(60);
/// Long enough that something that is not to come would have come.
const SILENCE: Duration = Duration::from_millis(700);

fn source(url: &str, topic: &str) -> Source {
    Source {
        url: url.into(),
        topics: vec![topic.into()],
        ..Source::default()
    }
}

fn subscribed(source: &Source) -> (Subscription, Receiver<Connectivity>) {
    subscribed_and_not(source, &[])
}

fn subscribed_and_not(source: &Source, gone: &[&str]) -> (Subscription, Receiver<Connectivity>) {
    let (sender, told) = unbounded();
    let gone = gone.iter().map(|topic| (*topic).to_owned()).collect();
    let subscription =
        subscribe(source, 0, 1 << 20, gone, move |what| drop(sender.send(what))).expect("a broker that agrees");
    (subscription, told)
}

fn refused(source: &Source) -> String {
    match subscribe(source, 0, 1 << 20, Vec::new(), |_| {}) {
        Ok(_) => panic!("the broker agreed"),
        Err(why) => why.to_string(),
    }
}

fn next(subscription: &Subscription) -> Message {
    subscription.messages().recv_timeout(LONG).expect("a message")
}

fn take(subscription: &Subscription, count: usize) -> Vec<(u64, String)> {
    let one = |_| {
        let message = next(subscription);
        (message.number, String::from_utf8_lossy(&message.payload).into_owned())
    };
    (0..count).map(one).collect()
}

fn nothing_comes(subscription: &Subscription) {
    let found = subscription.messages().recv_timeout(SILENCE);
    assert!(matches!(found, Err(RecvTimeoutError::Timeout)), "something came");
}

fn wait_for(told: &Receiver<Connectivity>, wanted: impl Fn(&Connectivity) -> bool) -> Connectivity {
    let mut seen = Vec::new();
    loop {
        match told.recv_timeout(LONG) {
            Ok(what) if wanted(&what) => return what,
            Ok(what) => seen.push(what),
            Err(_) => panic!("not told, but {seen:?}"),
        }
    }
}

fn connected(told: &Receiver<Connectivity>) {
    wait_for(told, |what| *what == Connectivity::Connected);
}

fn noticed(told: &Receiver<Connectivity>, words: &str) {
    wait_for(
        told,
        |what| matches!(what, Connectivity::Notice(text) if text.contains(words)),
    );
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

fn payloads(taken: Vec<(u64, String)>) -> Vec<String> {
    taken.into_iter().map(|(_, payload)| payload).collect()
}

fn both_protocols(test: impl Fn(Protocol)) {
    [Protocol::V5, Protocol::V3].into_iter().for_each(test);
}

#[test]
#[ignore = "needs mosquitto"]
fn exactly_what_was_not_acknowledged_comes_again_over_a_new_connection() {
    both_protocols(|protocol| {
        let broker = Mosquitto::start("max_inflight_messages 0\n");
        let proxy = Proxy::to(broker.port);
        let (subscription, told) = subscribed(&Source {
            protocol,
            ..source(&proxy.url(), "t")
        });
        assert!(!subscription.resumed());
        broker.publish("t", &numbers(0..30));
        let taken = take(&subscription, 30);
        assert_eq!(
            taken.iter().map(|(n, _)| *n).collect::<Vec<_>>(),
            (1..=30).collect::<Vec<_>>()
        );
        subscription.acknowledger().acknowledge(12);
        thread::sleep(SILENCE); // the acknowledgements travel
        proxy.cut();
        connected(&told);
        let again = take(&subscription, 18);
        assert_eq!(again[0].0, 31, "new numbers");
        assert_eq!(payloads(again), numbers(12..30));
        // Numbers of the old connection acknowledge nothing on the new one.
        subscription.acknowledger().acknowledge(30);
        thread::sleep(SILENCE);
        proxy.cut();
        connected(&told);
        assert_eq!(payloads(take(&subscription, 18)), numbers(12..30));
        subscription.acknowledger().acknowledge(u64::MAX);
        thread::sleep(SILENCE);
        proxy.cut();
        connected(&told);
        nothing_comes(&subscription);
    });
}

#[test]
#[ignore = "needs mosquitto"]
fn a_session_outlives_the_client_and_keeps_what_came_meanwhile() {
    both_protocols(|protocol| {
        let broker = Mosquitto::start("");
        let source = Source {
            protocol,
            ..source(&broker.url(), "t")
        };
        let (first, _) = subscribed(&source);
        broker.publish("t", &numbers(0..10));
        let taken = take(&first, 10);
        first.stop();
        assert!(
            first.messages().recv_timeout(LONG).is_err(),
            "no more comes after a stop"
        );
        first.acknowledger().acknowledge(taken[6].0);
        first.leave();
        broker.publish("t", &numbers(10..20));
        let (second, _) = subscribed(&source);
        assert!(second.resumed());
        assert_eq!(payloads(take(&second, 13)), numbers(7..20));
        second.acknowledger().acknowledge(13);
        second.leave();
        let (third, _) = subscribed(&source);
        nothing_comes(&third);
    });
}

#[test]
#[ignore = "needs mosquitto"]
fn a_topic_that_is_no_longer_asked_for_is_unsubscribed() {
    both_protocols(|protocol| {
        let broker = Mosquitto::start("");
        let both = Source {
            protocol,
            topics: vec!["a".into(), "b".into()],
            ..source(&broker.url(), "a")
        };
        let (first, _) = subscribed(&both);
        first.leave();
        let one = Source {
            topics: vec!["a".into()],
            ..both
        };
        let (second, _) = subscribed_and_not(&one, &["b"]);
        broker.publish("b", &numbers(0..3));
        broker.publish("a", &numbers(3..6));
        assert_eq!(payloads(take(&second, 3)), numbers(3..6));
        nothing_comes(&second);
    });
}

#[test]
#[ignore = "needs mosquitto"]
fn a_lost_session_is_told_and_subscribed_again() {
    both_protocols(|protocol| {
        let mut broker = Mosquitto::start("");
        let (subscription, told) = subscribed(&Source {
            protocol,
            ..source(&broker.url(), "t")
        });
        broker.publish("t", &numbers(0..3));
        take(&subscription, 3);
        broker.restart(); // without persistence: it has forgotten everything
        noticed(&told, "forgotten this client's session");
        connected(&told);
        broker.publish("t", &numbers(3..6));
        assert_eq!(payloads(take(&subscription, 3)), numbers(3..6));
    });
}

#[test]
#[ignore = "needs mosquitto"]
fn a_broker_that_persists_brings_everything_after_its_restart() {
    let mut broker = Mosquitto::start("persistence true\nautosave_interval 1\n");
    let (subscription, told) = subscribed(&source(&broker.url(), "t"));
    broker.publish("t", &numbers(0..5));
    take(&subscription, 5);
    subscription.acknowledger().acknowledge(2);
    thread::sleep(SILENCE);
    broker.restart();
    connected(&told);
    assert_eq!(payloads(take(&subscription, 3)), numbers(2..5));
}

#[test]
#[ignore = "needs mosquitto"]
fn a_half_open_connection_is_noticed_and_made_again() {
    let broker = Mosquitto::start("");
    let proxy = Proxy::to(broker.port);
    let (subscription, told) = subscribed(&Source {
        keep_alive: wardflow::settings::Micros(2_000_000),
        ..source(&proxy.url(), "t")
    });
    proxy.stall(true);
    broker.publish("t", &numbers(0..4));
    let lost = wait_for(&told, |what| matches!(what, Connectivity::Lost(_)));
    assert!(matches!(lost, Connectivity::Lost(why) if why.contains("does not answer")));
    proxy.stall(false);
    proxy.cut();
    connected(&told);
    assert_eq!(payloads(take(&subscription, 4)), numbers(0..4));
}

/// Nobody takes the messages: reading stops, pings go on, and the connection stands.
#[test]
#[ignore = "needs mosquitto"]
fn a_consumer_that_waits_holds_the_broker_back_and_keeps_the_connection() {
    let broker = Mosquitto::start("max_queued_messages 0\nmax_inflight_messages 0\n");
    for qos in [0, 1] {
        let (subscription, told) = subscribed(&Source {
            qos,
            client_id: format!("held-{qos}"),
            keep_alive: wardflow::settings::Micros(1_000_000),
            ..source(&broker.url(), "t")
        });
        let large = vec!["x".repeat(900_000); 120]; // more than is kept in memory
        broker.publish("t", &large);
        noticed(&told, "held back");
        thread::sleep(Duration::from_secs(3)); // three times the keep-alive
        for _ in 0..large.len() {
            let message = next(&subscription);
            subscription.acknowledger().acknowledge(message.number);
        }
        nothing_comes(&subscription);
        assert!(told.try_iter().all(|what| !matches!(what, Connectivity::Lost(_))));
    }
}

#[test]
#[ignore = "needs mosquitto"]
fn thousands_of_acknowledgements_at_once_get_through() {
    let broker = Mosquitto::start("max_queued_messages 0\nmax_inflight_messages 0\n");
    let source = source(&broker.url(), "t");
    let (subscription, _) = subscribed(&source);
    broker.publish("t", &numbers(0..9_000));
    take(&subscription, 9_000);
    subscription.acknowledger().acknowledge(4_500);
    subscription.acknowledger().acknowledge(8_999);
    subscription.leave();
    let (again, _) = subscribed(&source);
    assert_eq!(payloads(take(&again, 1)), numbers(8_999..9_000));
    nothing_comes(&again);
}

/// Whether what it waits for is acknowledged, and the whole thread rests, or not, and it goes on with the rest of its work.
#[test]
#[ignore = "needs mosquitto"]
fn what_comes_during_a_rest_is_read_behind_it_and_all_of_it() {
    let broker = Mosquitto::start("");
    for behind in [0, 1] {
        let (subscription, _) = subscribed(&Source {
            client_id: format!("behind-{behind}"),
            ..source(&broker.url(), "t")
        });
        broker.publish("t", &numbers(0..5));
        let last = take(&subscription, 5).last().expect("five").0;
        let until = Instant::now() + SILENCE;
        subscription.rest_until(until, last + behind);
        subscription.acknowledger().acknowledge(last);
        broker.publish("t", &numbers(5..15));
        let first = next(&subscription);
        assert!(Instant::now() >= until, "it was read before");
        assert_eq!(first.number, last + 1);
        assert_eq!(payloads(take(&subscription, 9)), numbers(6..15));
    }
}

#[test]
#[ignore = "needs mosquitto"]
fn wildcards_and_shared_subscriptions_bring_their_topics() {
    let broker = Mosquitto::start("");
    let (wild, _) = subscribed(&Source {
        topics: vec!["ward/+/pulse".into(), "icu/#".into()],
        client_id: "wild".into(),
        ..source(&broker.url(), "t")
    });
    for topic in ["ward/1/pulse", "ward/1/name", "icu", "icu/a/b", "other"] {
        broker.publish(topic, &["x".into()]);
    }
    let topics: Vec<_> = (0..3).map(|_| next(&wild).topic.to_string()).collect();
    assert_eq!(topics, ["ward/1/pulse", "icu", "icu/a/b"]);
    nothing_comes(&wild);
    let shares: Vec<_> = ["a", "b"]
        .map(|id| {
            subscribed(&Source {
                client_id: id.into(),
                ..source(&broker.url(), "$share/g/s/+")
            })
        })
        .into();
    broker.publish("s/1", &numbers(0..10));
    let mut seen = BTreeSet::new();
    for (subscription, _) in &shares {
        while let Ok(message) = subscription.messages().recv_timeout(SILENCE) {
            subscription.acknowledger().acknowledge(message.number);
            assert!(seen.insert(message.payload), "to one of them only");
        }
    }
    assert_eq!(seen.len(), 10);
}

#[test]
#[ignore = "needs mosquitto"]
fn a_message_that_is_far_too_long_is_cut_and_stops_nothing() {
    both_protocols(|protocol| {
        let broker = Mosquitto::start("");
        let source = Source {
            protocol,
            ..source(&broker.url(), "t")
        };
        let subscription = subscribe(&source, 0, 1024, Vec::new(), |_| {}).expect("a broker");
        broker.publish("t", &["a".into(), "b".repeat(3_000_000), "c".into()]);
        assert_eq!(next(&subscription).length, 1);
        let long = next(&subscription);
        assert_eq!(long.length, 3_000_000);
        assert!(long.payload.len() > 1024 && long.payload.len() < 200_000);
        assert!(long.payload.iter().all(|byte| *byte == b'b'));
        assert_eq!(next(&subscription).payload, "c");
    });
}

#[test]
#[ignore = "needs mosquitto"]
fn retained_messages_are_taken_only_if_asked_for() {
    both_protocols(|protocol| {
        let broker = Mosquitto::start("");
        broker.retain("t", "old");
        for retained in [false, true] {
            let (subscription, _) = subscribed(&Source {
                protocol,
                retained,
                client_id: format!("retained-{retained}"),
                ..source(&broker.url(), "t")
            });
            if retained {
                let message = next(&subscription);
                assert!(message.retain && message.payload == "old");
            }
            nothing_comes(&subscription);
            broker.retain("t", "old");
            let message = next(&subscription);
            assert!(!message.retain, "it is new to those who are subscribed");
        }
    });
}

#[test]
#[ignore = "needs mosquitto"]
fn two_clients_of_one_name_are_told_so() {
    let broker = Mosquitto::start("");
    let (_first, told) = subscribed(&source(&broker.url(), "t"));
    let (_second, _) = subscribed(&source(&broker.url(), "t"));
    let lost = wait_for(&told, |what| matches!(what, Connectivity::Lost(_)));
    let told = matches!(&lost, Connectivity::Lost(why) if why.contains("its own source.client_id"));
    assert!(told, "{lost:?}");
}

#[test]
#[ignore = "needs mosquitto"]
fn users_and_passwords_open_the_broker_and_are_not_shown() {
    let broker = Mosquitto::start("allow_anonymous false\npassword_file {folder}/users\n");
    let file = broker.folder.path().join("password");
    fs::write(&file, "s3cret:%\n").expect("a file");
    let open = |url: String, user: &str, password: &str, password_file: &str| Source {
        user: user.into(),
        password: password.into(),
        password_file: password_file.into(),
        ..source(&url, "t")
    };
    let (url, file) = (broker.url(), file.display().to_string());
    let in_url = url.replace("//", "//ward:s3cret%3A%25@");
    for good in [
        open(url.clone(), "ward", "s3cret:%", ""),
        open(url.clone(), "ward", "", &file),
        open(in_url, "", "", ""),
    ] {
        assert!(!format!("{good:?}").contains("s3cret"));
        drop(subscribed(&good));
    }
    for bad in [open(url.clone(), "ward", "s3cret:", ""), open(url.clone(), "", "", "")] {
        let why = refused(&bad);
        assert!(
            why.contains("refuses user and password") && !why.contains("s3cret"),
            "{why}"
        );
    }
    assert!(refused(&open(url, "ward", "", "/nowhere")).contains("/nowhere cannot be read"));
}

#[test]
#[ignore = "needs mosquitto and openssl"]
fn an_encrypted_broker_and_the_client_prove_who_they_are() {
    both_protocols(|protocol| {
        let broker = Mosquitto::start_encrypted();
        let path = |name: &str| broker.folder.path().join(name).display().to_string();
        let good = Source {
            protocol,
            ca: path("ca.pem"),
            certificate: path("client.pem"),
            key: path("client.key"),
            ..source(&format!("mqtts://localhost:{}", broker.port), "t")
        };
        let (subscription, _) = subscribed(&good);
        broker.publish("t", &["sealed".into()]);
        assert_eq!(next(&subscription).payload, "sealed");
        subscription.acknowledger().acknowledge(1);
        subscription.leave();
        let (again, _) = subscribed(&good);
        nothing_comes(&again);
        drop(again);
        let with = |change: &dyn Fn(&mut Source)| {
            let mut source = good.clone();
            change(&mut source);
            refused(&source)
        };
        type Case<'a> = (&'a dyn Fn(&mut Source), &'a str);
        let cases: [Case<'_>; 7] = [
            (&|s| s.ca = String::new(), "source.ca"),
            (&|s| s.ca = path("nothing.pem"), "nothing.pem: cannot be read"),
            (&|s| s.ca = path("client.key"), "client.key: no certificate in PEM form"),
            (
                &|s| (s.certificate, s.key) = Default::default(),
                "wants a certificate of the client",
            ),
            (&|s| s.key = path("ca.key"), "do not belong together"),
            (
                &|s| s.url = s.url.replace("localhost", "127.0.0.1"),
                "is for another host name",
            ),
            (&|s| s.url = s.url.replace("mqtts", "mqtt"), "mqtt://localhost"),
        ];
        for (change, words) in cases {
            let why = with(change);
            assert!(why.contains(words), "{words:?} is not in {why:?}");
        }
        let plain = Mosquitto::start("");
        let why = with(&|s| s.url = format!("mqtts://localhost:{}", plain.port));
        assert!(why.starts_with("mqtts://localhost"), "{why}");
    });
}

#[test]
#[ignore = "needs mosquitto"]
fn terms_of_the_broker_that_cost_records_are_told() {
    let broker = Mosquitto::start("max_qos 0\n");
    let (_subscription, told) = subscribed(&source(&broker.url(), "t"));
    noticed(&told, "QoS 0 only");
}

/// Prints rates; run with `--ignored --nocapture rate`.
#[test]
#[ignore = "needs mosquitto"]
fn rate() {
    let broker = Mosquitto::start("max_queued_messages 0\nmax_inflight_messages 0\n");
    let source = source(&broker.url(), "t");
    let (subscription, _) = subscribed(&source);
    subscription.leave();
    drop(subscription);
    let count = 50_000;
    broker.publish("t", &vec!["x".repeat(1000); count]);
    let begun = Instant::now();
    let (subscription, _) = subscribed(&source);
    for n in 1..=count as u64 {
        assert_eq!(next(&subscription).number, n);
        if n % 500 == 0 {
            subscription.acknowledger().acknowledge(n);
        }
    }
    subscription.leave();
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    println!("{rate:.0} messages/s received and acknowledged out of Mosquitto's queue");
}
