"""What is to go wrong, and when: a schedule follows from a seed and a number."""

import random
from dataclasses import dataclass, field

CRASH_POINTS = [
    "journal.appended",
    "journal.synced",
    "journal.acknowledged",
    "journal.rotated",
    "epoch.appended",
    "epoch.synced",
    "commit.staged",
    "commit.snapshot",
    "commit.manifest_written",
    "commit.manifest",
    "commit.published_one",
    "commit.published",
    "commit.retired",
]
# How often a point is passed in a short run, roughly: a crash comes at the n-th time, n up to this.
PASSED = {"journal.rotated": 3, "commit.retired": 2, "journal": 40, "epoch": 40, "commit.published_one": 12, "commit": 4}

# Every named crash point once, then these, then whatever the dice say.
SINGLE = [
    "undisturbed",
    "kill",
    "kill",
    "kill_in_recovery",
    "kill_in_recovery",
    "stop",
    "broker_restart",
    "broker_kill",
    "broker_kill",
    "both_kill",
    "drop",
    "drop",
    "stall",
    "half_open",
    "no_acknowledgements",
    "no_acknowledgements",
    "full_disk",
    "full_disk",
    "slow_disk",
    "flip",
    "flip",
    "torn_tail",
    "torn_tail",
]
# Not with others: what they may cost is judged on its own.
ALONE = {"flip", "undisturbed"}


@dataclass
class Act:
    """Something that goes wrong at a part of the time (0 to 1) in which records are published."""

    at: float
    what: str
    how: dict = field(default_factory=dict)

    def __str__(self):
        how = ", ".join(f"{name}={value}" for name, value in self.how.items())
        return f"{self.at:.2f} {self.what}({how})"


@dataclass
class Schedule:
    seed: int
    number: int
    acts: list
    workers: int
    processes: int
    replay_workers: int
    inflight: int
    records: int
    seconds: float
    qos: int
    client: str
    forgets: bool  # the journal keeps little more than it must: its replay starts with a state in the middle

    def __str__(self):
        acts = ", ".join(map(str, self.acts)) or "nothing goes wrong"
        return (
            f"{acts}; {self.records} records in {self.seconds:.1f} s with {self.client} at QoS {self.qos}, "
            f"{self.inflight} in flight, {self.workers} workers{f' in each of {self.processes} processes' if self.processes > 1 else ''}, replayed with {self.replay_workers}"
            + (", a short journal" if self.forgets else "")
        )

    def needs_small_disk(self):
        return any(act.what == "full_disk" for act in self.acts)


def schedule(seed, number, processes=1):
    dice = random.Random(f"{seed}:{number}")
    if number < len(CRASH_POINTS):
        kinds = ["crash:" + CRASH_POINTS[number]]
    elif number < len(CRASH_POINTS) + len(SINGLE):
        kinds = [SINGLE[number - len(CRASH_POINTS)]]
    else:
        kinds = any_kinds(dice)
    acts = [act for kind in kinds for act in acts_of(kind, dice)]
    acts = sorted(acts + devices(random.Random(f"{seed}:{number}:devices")), key=lambda act: act.at)
    workers = dice.choice([1, 1, 2, 3])
    broker_dies = any(act.what in ("broker_restart", "broker_kill", "both_kill") for act in acts)
    return Schedule(
        seed=seed,
        number=number,
        acts=acts,
        workers=workers,
        processes=processes,
        replay_workers=dice.choice([n for n in (1, 2, 3) if n != workers]),
        inflight=dice.choice([1, 5, 20, 20, 100, 0]),
        records=dice.randrange(300, 1200),
        seconds=dice.uniform(1.5, 3.5),
        qos=0 if kinds == ["drop"] and dice.random() < 0.4 else 1,
        forgets=kinds == ["crash:commit.retired"] or (number >= len(CRASH_POINTS) + len(SINGLE) and dice.random() < 0.15),
        client="paho" if broker_dies or dice.random() < 0.8 else "mosquitto_pub",
    )


def devices(dice):
    """What becomes of the device collection's file meanwhile: it changes, breaks, is gone, is mended."""
    if dice.random() < 0.5:
        return []
    how = lambda: {
        "version": dice.choice(["whole", "whole", "whole", "more", "other", "half", "few", "none"]),
        "in_place": dice.random() < 0.5,
        "number": dice.randrange(4),
    }
    return [Act(dice.uniform(0.05, 0.95), "devices", how()) for _ in range(dice.randrange(1, 6))]


def any_kinds(dice):
    kinds = ["crash:" + point for point in CRASH_POINTS] * 2 + SINGLE
    first = dice.choice(kinds)
    if first in ALONE or dice.random() < 0.3:
        return [first]
    more = [kind for kind in kinds if kind not in ALONE]
    return [first] + dice.choices(more, k=dice.randrange(1, 4))


def crash(dice, point):
    most = PASSED.get(point) or PASSED[point.split(".")[0]]
    return f"{point}:{dice.randrange(1, most + 1)}"


def acts_of(kind, dice):
    at = dice.uniform(0.05, 0.9)
    if kind.startswith("crash:"):
        crashes = [crash(dice, kind.removeprefix("crash:"))]
        while dice.random() < 0.4:
            crashes.append(crash(dice, dice.choice(CRASH_POINTS)))
        return [Act(dice.uniform(0, 0.3), "crash", {"points": crashes})]
    if kind == "undisturbed":
        return []
    if kind == "kill":
        moments = [dice.uniform(0.02, 1.1) for _ in range(dice.randrange(1, 5))]
        return [Act(moment, "kill", {"away": away(dice)}) for moment in moments]
    how = {
        "kill_in_recovery": lambda: {"lives": [round(dice.uniform(0.01, 0.5), 3) for _ in range(dice.randrange(1, 5))]},
        "stop": lambda: {"away": away(dice)},
        "broker_restart": lambda: {"away": away(dice)},
        "broker_kill": lambda: {"away": away(dice)},
        "both_kill": lambda: {"away": away(dice)},
        "drop": lambda: {"times": dice.randrange(1, 6), "reset": dice.random() < 0.5},
        "stall": lambda: {"seconds": round(dice.uniform(0.3, 2.0), 2), "kill": dice.random() < 0.3},
        "half_open": lambda: {"seconds": round(dice.uniform(0.5, 4.0), 2)},
        "no_acknowledgements": lambda: {"seconds": round(dice.uniform(0.1, 0.8), 2), "kill": dice.random() < 0.4},
        "full_disk": lambda: {"free": dice.choice([0, 0, 500, 5_000, 60_000]), "seconds": round(dice.uniform(0.3, 1.5), 2)},
        "slow_disk": lambda: {"milliseconds": dice.choice([5, 20, 60]), "kill": dice.random() < 0.5},
        "flip": lambda: {"place": round(dice.random(), 4), "bit": dice.randrange(8), "file": round(dice.random(), 4)},
        "torn_tail": lambda: {
            "with": dice.choice(["noise", "zeros", "its own bytes"]),
            "length": dice.randrange(1, 3000),
            "file": round(dice.random(), 4),
        },
    }[kind]()
    return [Act(at, kind, how)]


def away(dice):
    return round(dice.choice([0, dice.uniform(0, 0.6)]), 2)
