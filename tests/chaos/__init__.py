"""The chaos yard: real processes are hurt on purpose, then the record and the files are checked.

`python3 run.py chaos` runs the scenarios; `python3 run.py chaos --list` names them. What there is to build on:

**Scenarios** (`tests/chaos/scenarios/`, one file each, found by name). A file has one decorated function:

    @scenario("kills", "processes killed and frozen at random moments", counts={"kills": 1000, "freezes": 100})
    def run(trial: Trial) -> Findings: ...

`counts` become options of the command line (`--kills N`) and arrive in `trial.counts`; `databases` says on which the
scenario runs (both by default). A `Trial` has `seed`, `dice` (random.Random of that seed), `database` ("sqlite" or
"postgresql"), `folder` (empty, removed afterwards unless something was violated) and `say(done, total, note)`, which
prints progress. `Findings(violations, figures)`: violations by the name of the rule, in plain words (nothing violated:
no entry), and flat figures for the table and the result file.

**The yard** (`yard.py`). `with open_yard(folder, database=…, workers=2, **settings) as yard:` starts broker, API,
workers and, if asked, a PostgreSQL of its own. `yard.submit(kind)` posts a job of `kinds.py` (or any spec) and insists
until it is acknowledged; `yard.accepted` lists all ids, `yard.wait(ids)` waits for their end by looking at the record.
`yard.parts["broker" | "api" | "worker-1" … | "database"]` are `Part`s: `kill()` (SIGKILL to the whole part),
`kill_main()`, `freeze(seconds)`, `down(seconds)` (kill, start again later), `terminate()`, `restart()`. `yard.keeper`
starts dead parts again, as a service manager would, and thaws what is frozen; it runs in a thread of its own that
touches neither database nor broker. `yard.roles()` lists the processes by what they are (main, pool, zygote, trainer).
`yard.client` is the HTTP client, `yard.engine` the record, `yard.store` the artifacts, `yard.logs()` all log text.

**Faults** (`faults.py`): `Saboteur(yard, dice)` kills and freezes processes of a role and remembers which job was hit
and when; `recoveries` gives the seconds until it was noticed and until the job ran again.

**Rules** (`invariants.py`): `check(Evidence.of(yard, references))` returns violations by rule, I1 to I11.
"""
