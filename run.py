#!/usr/bin/env python3
"""Set up and run everything, on a machine that has nothing but Python.

    python3 run.py demo            see it work
    python3 run.py test            everything that has to pass: lint, types, tests, demo
    python3 run.py test full       one environment (`tox.ini` has them)
    python3 run.py test full -- -k registry -x
    python3 run.py lint | types
    python3 run.py bench [-- arguments of the benchmarks]

What stands after `--` goes to pytest. tox is installed into `.tox-bootstrap/`, its environments
into `.tox/`; nothing else on the machine is touched. Standard library only, and it has to parse in
every Python from 3.6 on: telling an old interpreter's user what to do is part of its work.
"""

import argparse
import glob
import os
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.abspath(__file__))
BOOTSTRAP = os.path.join(ROOT, ".tox-bootstrap")
REQUIREMENT = "tox>=4.60,<5"
SUPPORTED = [(3, 11), (3, 12), (3, 13)]
OLDEST = SUPPORTED[0]

CHECKS = ["lint", "types"]
TESTS = [
    "light-py311",
    "light-py312",
    "light-py313",
    "replay",
    "adapters",
    "libraries",
    "lowest",
    "full",
]
PROBE = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)"


def say(text):
    print("run.py: " + text, flush=True)


def call(command, **kwargs):
    """Run and show one command; its exit status."""
    print("$ " + " ".join(display(part) for part in command), flush=True)
    return subprocess.call(command, cwd=ROOT, **kwargs)


def display(part):
    relative = os.path.relpath(part, ROOT) if os.path.isabs(part) else part
    shown = part if relative.startswith("..") else relative
    return '"%s"' % shown if " " in shown or not shown else shown


# ---------------------------------------------------------------- interpreters


def candidates(version):
    """Paths where an interpreter of this version may be, best first."""
    name = "python%d.%d" % version + (".exe" if os.name == "nt" else "")
    if sys.version_info[:2] == version:
        yield sys.executable
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        yield os.path.join(folder, name)
    pyenv = os.environ.get("PYENV_ROOT") or os.path.join(os.path.expanduser("~"), ".pyenv")
    versions = glob.glob(os.path.join(pyenv, "versions", "%d.%d*" % version))
    for folder in sorted(versions, key=natural, reverse=True):
        yield os.path.join(folder, "python.exe" if os.name == "nt" else os.path.join("bin", name))


def natural(path):
    """Sort 3.12.10 after 3.12.9."""
    parts = os.path.basename(path).split(".")
    return [int(part) if part.isdigit() else -1 for part in parts]


def probe(path, version):
    """The interpreter that `path` really starts, if it is of that version; None otherwise.

    A pyenv shim exists for every version that pyenv has, and fails for those that are not active:
    only a program that ran and said its version counts.
    """
    if not os.path.isfile(path):
        return None
    try:
        answer = subprocess.run(
            [path, "-c", PROBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            universal_newlines=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = answer.stdout.splitlines()
    if answer.returncode != 0 or len(lines) != 2 or lines[0] != "%d.%d" % version:
        return None
    return lines[1]


def find(version):
    return next(filter(None, (probe(path, version) for path in candidates(version))), None)


def find_all():
    """Each supported version's interpreter, and a word about each."""
    found = {}
    for version in SUPPORTED:
        path = find(version)
        if path:
            found[version] = path
            say("Python %d.%d: %s" % (*version, path))
        else:
            say("Python %d.%d: NOT FOUND; what needs it is skipped" % version)
    return found


def leave_old_python():
    """Start again under an interpreter that is new enough, or say that there is none."""
    for version in reversed(SUPPORTED):
        path = find(version)
        if path:
            say("this is Python %d.%d; going on with %s" % (*sys.version_info[:2], path))
            sys.exit(subprocess.call([path, os.path.abspath(__file__), *sys.argv[1:]]))
    sys.exit(
        "run.py: Python %d.%d or newer is needed; this is %s, and PATH and pyenv have no other"
        % (*OLDEST, sys.version.split()[0])
    )


# ------------------------------------------------------------------------- tox


def env_python(folder):
    parts = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    return os.path.join(folder, *parts)


def tox_command(found):
    """How to call tox, installed on first use."""
    python = env_python(BOOTSTRAP)
    stamp = os.path.join(BOOTSTRAP, "installed.txt")
    try:
        with open(stamp) as file:
            current = file.read() == REQUIREMENT
        # The interpreter under a virtual environment can go away.
        current = current and subprocess.call([python, "-c", "import tox"]) == 0
    except OSError:
        current = False
    if not current:
        install_tox(python, stamp, found)
    return [python, "-m", "tox"]


def install_tox(python, stamp, found):
    say("installing %s into %s" % (REQUIREMENT, display(BOOTSTRAP)))
    for base in dict.fromkeys([sys.executable, *found.values()]):
        shutil.rmtree(BOOTSTRAP, ignore_errors=True)
        if call([base, "-m", "venv", BOOTSTRAP]) == 0:
            break
        say("%s cannot make virtual environments (on Debian: install python3-venv)" % base)
    else:
        sys.exit("run.py: no interpreter here can make a virtual environment")
    if call([python, "-m", "pip", "install", "--quiet", REQUIREMENT]) != 0:
        sys.exit("run.py: tox could not be installed; pip's message is above")
    with open(stamp, "w") as file:
        file.write(REQUIREMENT)


class Runner:
    """Runs one step after another, and keeps how each ended."""

    def __init__(self):
        self.found = find_all()
        self.tox = tox_command(self.found)
        self.results = []

    def step(self, name, command):
        say("---- " + name)
        begin = time.monotonic()
        code = call(command)
        self.results.append((name, code, time.monotonic() - begin))
        return code == 0

    def run_tox(self, envs, extra=(), posargs=()):
        command = [*self.tox, "run"]
        if self.found:
            command += ["--discover", *self.found.values()]
        command += ["-e", ",".join(envs), *extra]
        if posargs:
            command += ["--", *posargs]
        return self.step("tox: " + ", ".join(envs), command)

    def in_full(self, name, arguments):
        """Run Python in the environment `full`, with torch and the model; make it if need be."""
        if self.run_tox(["full"], extra=["--notest"]):
            self.step(name, [env_python(os.path.join(ROOT, ".tox", "full")), *arguments])

    def finish(self):
        say("---- summary")
        for name, code, seconds in self.results:
            verdict = "ok" if code == 0 else "FAILED (exit status %d)" % code
            say("%s: %s in %.0f s" % (name, verdict, seconds))
        for version in SUPPORTED:
            if version not in self.found:
                say("not run: what needs Python %d.%d, which is not on this machine" % version)
        return 0 if all(code == 0 for _, code, _ in self.results) else 1


def main(argv):
    if sys.version_info[:2] < OLDEST:
        leave_old_python()

    posargs = []
    if "--" in argv:
        cut = argv.index("--")
        argv, posargs = argv[:cut], argv[cut + 1 :]
    parser = argparse.ArgumentParser(
        prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["demo", "test", "lint", "types", "bench"])
    parser.add_argument("env", nargs="*", help="with `test`: only these environments of tox.ini")
    options = parser.parse_args(argv)
    if options.env and options.what != "test":
        parser.error("only `test` takes names of environments")

    runner = Runner()
    if options.what == "demo":
        runner.in_full("demo", [os.path.join("examples", "demo.py"), *posargs])
    elif options.what == "bench":
        runner.in_full("bench", ["-m", "benchmarks", *posargs])
    elif options.what in CHECKS:
        runner.run_tox([options.what])
    elif options.env or posargs:
        runner.run_tox(options.env or TESTS, posargs=posargs)
    else:
        runner.run_tox(CHECKS + TESTS)
        runner.in_full("demo", [os.path.join("examples", "demo.py")])
    return runner.finish()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
