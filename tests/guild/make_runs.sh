#!/usr/bin/env bash
# Builds a Guild home with one run of every kind that there is.
#
#   make_runs.sh TARGET_DIR
#
# Needs `guild` and python3 on PATH.  Makes TARGET_DIR/home (the GUILD_HOME), TARGET_DIR/project and TARGET_DIR/ids: one
# line `kind<TAB>run id` for each run, and for each trial and step one of the kind `*-child`.  Takes some 12 s.
# One run is left running: end it with `kill "$(cat TARGET_DIR/home/runs/<its id>/.guild/LOCK)"`.
set -euo pipefail
T=${1:?usage: make_runs.sh TARGET_DIR}
mkdir -p "$T/home" "$T/project"
T=$(cd "$T" && pwd)
export GUILD_HOME=$T/home
unset VIRTUAL_ENV CONDA_PREFIX GUILD_RUNS_PARENT RUN_DIR RUN_ID || true
export NO_PIP_FREEZE=1 # it takes a second a run
: > "$T/ids"
cd "$T/project"

cat > guild.yml <<'Y'
- operations:
    train:
      main: train
      flags-import: [lr, epochs]
      requires:
        - file: data
          target-type: link
        - file: notes.txt
    eval-link:
      main: evalm
      requires:
        - operation: train
          target-type: link
    eval-copy:
      main: evalm
      requires:
        - operation: train
          select: ckpt
    bad:
      main: bad
    suicide:
      exec: sh -c 'kill -TERM $$'
    nodep:
      main: evalm
      requires:
        - file: does-not-exist.bin
    slow:
      main: slow
    pipe:
      steps:
        - run: train lr=0.5
        - run: eval-link
    srcdir:
      main: train
      flags-import: off
      sourcecode:
        dest: .guild/sourcecode
Y
cat > train.py <<'P'
import json, os
lr = 0.1
epochs = 2
loss = 1.0
for e in range(epochs):
    loss *= 1 - lr
    print(f"step: {e}\nloss: {loss}")
os.makedirs("ckpt", exist_ok=True)
with open("ckpt/model.bin", "wb") as f:
    f.write(os.urandom(100_000))
with open("metrics.json", "w") as f:
    json.dump({"loss": loss}, f)
P
cat > evalm.py <<'P'
import os
print("acc: 0.5")
with open("eval.txt", "w") as f:
    f.write("\n".join(sorted(os.listdir("."))))
P
cat > bad.py <<'P'
open("partial.txt", "w").write("half")
raise SystemExit("it broke")
P
cat > slow.py <<'P'
import time
print("loss: 1", flush=True)
open("started.txt", "w").write("x")
time.sleep(3600)
P
mkdir -p data && echo one > data/a.csv && echo note > notes.txt
: > data/.guild-nocopy   # keep Guild from also copying data/ as source code

note() { printf '%s\t%s\n' "$1" "$2" >> "$T/ids"; }
# Run an operation under a run id of our own, so that nothing has to be guessed.
newid() { python3 -c 'import uuid; print(uuid.uuid4().hex)'; }
go() { # kind, then guild-run args
  local kind=$1 id; shift; id=$(newid)
  guild run -y --run-id "$id" "$@" >"$T/$kind.log" 2>&1 || true
  note "$kind" "$id"
}

go plain        train lr=0.1
go plain-label  train lr=0.2 --label "my label" --tag t1 --comment "first words"
go upstream-link eval-link
go upstream-copy eval-copy
# a batch parent is moved to the trash on success unless --keep-batch
go batch        train lr="[0.1,0.2]" --keep-batch
go error        bad
go terminated   suicide
go dep-failed   nodep
go staged       train lr=0.3 --stage
go staged-batch train lr="[0.6,0.7]" --stage-trials --keep-batch
go pipeline     pipe
go srcdir       srcdir
# a restarted run
go restarted    train lr=0.4
guild run -y --restart "$(awk '$1=="restarted"{print $2}' "$T/ids")" >"$T/restart.log" 2>&1 || true
# a run made from another run's source code and config
go proto        --proto "$(awk '$1=="plain"{print $2}' "$T/ids")" lr=0.9
# trials and steps: note the children by the links in the parent
for kind in batch staged-batch pipeline; do
  pid=$(awk -v k=$kind '$1==k{print $2}' "$T/ids")
  for l in "$GUILD_HOME/runs/$pid"/*; do
    if [ -L "$l" ] && [ -d "$l/.guild" ]; then note "$kind-child" "$(basename "$(readlink "$l")")"; fi
  done
done
# attributes that people change later
b=$(awk '$1=="plain-label"{print $2}' "$T/ids")
guild mark -y "$b" >/dev/null 2>&1
guild comment -y --add "second words" "$b" >/dev/null 2>&1
id=$(newid)
guild run -y --run-id "$id" --background --pidfile "$T/running.pid" slow >"$T/running.log" 2>&1 || true
note running "$id"
for _ in $(seq 100); do [ -e "$GUILD_HOME/runs/$id/started.txt" ] && break; sleep 0.1; done

# Operations that fail are wanted; runs that are not there are not.
while read -r kind id; do
  if [ ! -e "$GUILD_HOME/runs/$id/.guild/opref" ]; then
    echo "make_runs: Guild made no run of the kind $kind:"
    cat "$T/${kind%-child}.log"
    exit 1
  fi
done < "$T/ids"
