"""Breaks the real program in every way we know of, and judges what it has kept.

    python tests/faults --binary target/debug/wardflow                      three dozen schedules, in a minute or two
    python tests/faults --binary target/debug/wardflow --schedules 2000     the long run
    python tests/faults --binary target/debug/wardflow --seed 7 --only 12   one of them again
    python tests/faults --binary target/debug/wardflow --processes 2        runs of several processes and sessions; one dies, all end

Needs Mosquitto (Debian: mosquitto, mosquitto-clients), paho-mqtt and pyarrow, and a debug build, which has the named crash points. A
schedule starts a broker, a proxy, a ward that publishes, `wardflow run` and a reader, lets go wrong what its seed says, and ends
gracefully. Then the journal is replayed undisturbed, and the tables of both must have the same rows, bit for bit; what the broker has
acknowledged must be there once; no reader may have seen anything else. At the end everything written is searched for identities.
"""

import argparse
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

from judgement import judge, prove
from program import log
from scene import Scene
from schedule import schedule
from tables import Wrong
from ward import CANARY

# A schedule takes some ten seconds; one that takes so long hangs.
PATIENCE = 300
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SEARCH = ["cargo", "test", "--quiet", "--test", "search", "--", "--ignored", "--nocapture"]


def arguments():
    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default="target/debug/wardflow", help="a debug build [%(default)s]")
    parser.add_argument("--schedules", type=int, default=36, help="how many [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other schedules [%(default)s]")
    parser.add_argument("--only", type=int, help="the one schedule of this number")
    parser.add_argument("--processes", type=int, default=1, help="processes of a live run, each with a session [%(default)s]")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), help="schedules at once [%(default)s]")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a further setting for wardflow")
    parser.add_argument("--folder", help="where to work [a temporary folder]")
    parser.add_argument("--keep", action="store_true", help="keep what was written, also of schedules that went well")
    parser.add_argument("--no-search", action="store_true", help="do not search for identities")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def one(options, folder):
    """Carries out one schedule in this process; exit status 0 if all was as promised."""
    plan = schedule(options.seed, options.only, options.processes)
    began = time.monotonic()
    scene, wrong = None, None
    try:
        scene = Scene(options.binary, folder, plan, options.set)
        scene.play()
        found = judge(scene)
        if not plan.acts and plan.qos:
            found += "; " + prove(scene)
    except Wrong as promise:
        wrong = str(promise)
    except Exception:
        wrong = traceback.format_exc()
    finally:
        if scene:
            scene.end()
    notes = f" [{'; '.join(scene.notes)}]" if scene and scene.notes else ""
    if wrong is None:
        print(f"{plan.number:>5} ok  {plan}{notes}: {found}, {time.monotonic() - began:.1f} s")
        return 0
    print(f"{plan.number:>5} FAILED  {plan}{notes}\n      {wrong}")
    if scene:
        print("      the program said, at last:")
        print("\n".join(f"        {line}" for line in scene.program.said[-25:]))
    return 1


def command(options, number):
    again = [sys.executable, os.path.relpath(os.path.dirname(os.path.abspath(__file__))), "--binary", options.binary, "--seed", str(options.seed)]
    if options.processes > 1:
        again += ["--processes", str(options.processes)]
    for setting in options.set:
        again += ["--set", setting]
    return again + ["--only", str(number)]


def child(options, folder, number):
    """A schedule in a process of its own: what it said, whether it went well."""
    mine = os.path.join(folder, str(number))
    os.makedirs(mine)
    process = subprocess.Popen(
        [*command(options, number), "--one", "--folder", mine],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        said, _ = process.communicate()
        said += f"{number:>5} FAILED  it hangs: {schedule(options.seed, number, options.processes)}\n"
    well = process.returncode == 0
    if not well:
        again = " ".join(command(options, number)).replace(sys.executable, "python")
        said += f"      seed {options.seed}, schedule {number}; again: {again}\n      kept: {mine}\n"
    return number, well, said


def search(folders):
    """No identity in anything that was written or said."""
    environment = {**os.environ, "CANARIES": CANARY, "SEARCHED_FOLDERS": ":".join(folders)}
    return subprocess.run(SEARCH, env=environment, cwd=ROOT).returncode == 0


def main():
    options = arguments()
    if options.one:
        sys.exit(one(options, options.folder))
    folder = os.path.abspath(options.folder or tempfile.mkdtemp(prefix="wardflow-faults-"))
    numbers = [options.only] if options.only is not None else range(options.schedules)
    began = time.monotonic()
    failed, found, waiting = [], True, []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        tasks = [pool.submit(child, options, folder, number) for number in numbers]
        for task in concurrent.futures.as_completed(tasks):
            number, well, said = task.result()
            log(said.rstrip())
            if not well:
                failed.append(number)
            waiting.append((number, well))
            # Searched and cleared away in heaps, so that a long run does not fill the disk.
            if len(waiting) >= 40:
                found = tidy(options, folder, waiting) and found
                waiting = []
    found = tidy(options, folder, waiting) and found
    seconds = time.monotonic() - began
    log(f"{len(numbers)} schedules of seed {options.seed} in {seconds:.0f} s: {len(failed)} failed {sorted(failed) or ''}")
    if not found:
        log("identities were found where none may be, see above")
    if not failed and found and not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(numbers) - len(failed)} passed, {len(failed) + (not found)} failed")
    sys.exit(1 if failed or not found else 0)


def tidy(options, folder, heap):
    """Searches the schedules of a heap for identities; those that went well are removed then."""
    written = [os.path.join(folder, str(number), "run") for number, _ in heap]
    found = options.no_search or not heap or search([path for path in written if os.path.isdir(path)])
    for number, well in heap:
        if well and found and not options.keep:
            shutil.rmtree(os.path.join(folder, str(number)), ignore_errors=True)
    return found


if __name__ == "__main__":
    main()
