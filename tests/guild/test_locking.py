"""Real Guild runs under lock, with Guild itself as the judge of what still works."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.guild import ACTIVE, FINISHED, GuildHome, guild_environment
from tests.support.picture import Picture, modes, picture
from tests.support.program import Told, gitrun
from tests.support.users import GID, UID, as_user, give, remove_tree, user_python

FOR_PEOPLE = ("label", "tags", "comments", "marked")
ATTRS = Path(".guild", "attrs")


def call(home: GuildHome, *arguments: str | Path, cwd: Path | None = None) -> Told:
    """gitrun as the user who made the runs, with GUILD_HOME set and Guild itself out of reach."""
    environment = {**guild_environment(home.base), "PATH": "/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM": "1"}
    return gitrun(*arguments, cwd=cwd or home.base, env=environment, user=True)


def of_people(path: bytes) -> bool:
    return path in {os.fsencode(ATTRS / name) for name in FOR_PEOPLE}


def without_own(seen: Picture) -> Picture:
    return {path: it for path, it in seen.items() if path not in (b".git", b".gitrun.lock")}


def duplicate(made: GuildHome, base: Path) -> GuildHome:
    subprocess.run(["cp", "-a", "--", made.base, base], check=True)
    return GuildHome(base, made.ids)


@pytest.fixture(scope="module")
def before(guild_made: GuildHome, shared_session: Path) -> Iterator[GuildHome]:
    """A copy of all runs, as they were."""
    base = shared_session / "before"
    yield duplicate(guild_made, base)
    remove_tree(base)


@pytest.fixture(scope="module")
def all_locked(guild_made: GuildHome, shared_session: Path) -> Iterator[tuple[GuildHome, Told]]:
    """A home after `gitrun lock --all`, and what that told; for tests that only read it."""
    base = shared_session / "all-locked"
    home = duplicate(guild_made, base)
    yield home, call(home, "lock", "--json", "--all", home.home)
    remove_tree(base)


class TestAll:
    def test_finished_runs_are_locked_and_active_ones_refused(self, all_locked: tuple[GuildHome, Told]) -> None:
        home, told = all_locked
        by_id = {Path(one["path"]).name: one for one in told.objects}
        assert set(by_id) == {run for ids in home.ids.values() for run in ids}
        for kind, ids in home.ids.items():
            for run in ids:
                expected = (5, "unlocked") if kind in ACTIVE else (0, "locked")
                assert (by_id[run]["exit"], by_id[run]["state"]) == expected, (kind, by_id[run])
        assert told.code == 5

    def test_a_refusal_says_why(self, all_locked: tuple[GuildHome, Told]) -> None:
        home, told = all_locked
        reasons = {Path(one["path"]).name: one["error"] for one in told.objects if one["exit"]}
        for kind, word in (("running", "running"), ("staged", "staged"), ("staged-batch-child", "staged")):
            for run in home.ids[kind]:
                assert reasons[run]["code"] == "RunActive" and word in reasons[run]["message"]

    def test_the_id_is_guilds_own(self, all_locked: tuple[GuildHome, Told]) -> None:
        _, told = all_locked
        assert all(one["run"] in ("", Path(one["path"]).name) for one in told.objects)
        assert all(one["run"] for one in told.objects if not one["exit"])

    def test_every_one_is_verified(self, all_locked: tuple[GuildHome, Told]) -> None:
        home, _ = all_locked
        told = call(home, "verify", "--json", "--strict", "--all", home.home)
        by_id = {Path(one["path"]).name: one for one in told.objects}
        for kind, ids in home.ids.items():
            for run in ids:
                assert by_id[run]["exit"] == (3 if kind in ACTIVE else 0), (kind, by_id[run])
        assert {one["protection"] for one in told.objects if not one["exit"]} == {"read-only"}

    def test_status_shows_all(self, all_locked: tuple[GuildHome, Told]) -> None:
        home, _ = all_locked
        told = call(home, "status", "--json", "--all", home.home)
        assert told.code == 0
        states = {Path(one["path"]).name: one for one in told.objects}
        assert states[home.ids["plain"][0]]["label"].startswith("train")
        assert {one["layout"] for one in told.objects} == {"guild"}
        assert sum(one["state"] == "locked" for one in told.objects) == sum(len(home.ids[kind]) for kind in FINISHED)

    def test_active_runs_are_untouched(self, all_locked: tuple[GuildHome, Told], before: GuildHome) -> None:
        home, _ = all_locked
        for kind in ACTIVE:
            for run in home.ids[kind]:
                seen, was = picture(home.runs / run), picture(before.runs / run)
                assert not [path for path in seen if b"gitrun" in path or path == b".git"]
                # The one that runs may have written between the two copies.
                common = seen.keys() & was.keys() if kind == "running" else seen.keys() | was.keys()
                assert all(seen[path].mode == was[path].mode for path in common)
                assert kind == "running" or seen == was

    def test_nothing_outside_the_runs_and_their_store_is(
        self, all_locked: tuple[GuildHome, Told], before: GuildHome
    ) -> None:
        home, _ = all_locked
        assert picture(home.base / "project") == picture(before.base / "project")
        assert (home.base / "ids").read_bytes() == (before.base / "ids").read_bytes()
        assert {p.name for p in home.home.iterdir()} == {p.name for p in before.home.iterdir()}

    def test_only_the_notes_for_people_stay_writable(self, all_locked: tuple[GuildHome, Told]) -> None:
        home, _ = all_locked
        for kind in FINISHED:
            for path, seen in picture(home.run(kind)).items():
                if seen.kind != stat.S_IFLNK:
                    assert bool(seen.mode & 0o222) == of_people(path), (kind, path)

    def test_nothing_else_changed(self, all_locked: tuple[GuildHome, Told], before: GuildHome) -> None:
        home, _ = all_locked
        for kind in FINISHED:
            old, new = picture(before.run(kind)), without_own(picture(home.run(kind)))
            created = {path: it for path, it in new.items() if path not in old}
            assert all(of_people(path) for path in created)
            assert {it.content for it in created.values()} <= {hashlib.sha256(b"").hexdigest()}
            for path, seen in old.items():
                assert new[path][2:] == seen[2:], (kind, path)

    def test_no_artefact_has_a_name_that_guild_leaves_behind(self, all_locked: tuple[GuildHome, Told]) -> None:
        home, _ = all_locked
        for kind in FINISHED:
            assert not list((home.run(kind) / ".guild").glob("LOCK*"))
            names = {p.name for p in (home.run(kind) / ATTRS).iterdir()}
            assert not [name for name in names if "lock" in name or "gitrun" in name]

    def test_guild_lists_the_same_runs(self, all_locked: tuple[GuildHome, Told], before: GuildHome) -> None:
        home, _ = all_locked
        listed = [it.guild("runs", "list", "--all").stdout for it in (before, home)]
        assert listed[0] == listed[1] and len(listed[0].splitlines()) == sum(map(len, home.ids.values()))
        assert ".gitrun" in {p.name for p in home.runs.iterdir()}
        assert "gitrun" not in listed[1]

    @pytest.mark.parametrize("words", [("runs", "info"), ("ls", "-n"), ("cat", "-p", ".guild/opref")])
    @pytest.mark.parametrize("kind", ["plain-label", "pipeline"])
    def test_guild_shows_the_same(
        self, all_locked: tuple[GuildHome, Told], before: GuildHome, kind: str, words: tuple[str, ...]
    ) -> None:
        home, _ = all_locked
        run = home.ids[kind][0]
        said = []
        for it in (before, home):
            done = it.guild(*words, run)
            assert done.returncode == 0, done.stderr
            said.append(done.stdout.replace(str(it.base), "BASE"))
        assert said[0] == said[1] and said[0].strip()

    def test_links_to_upstream_runs_are_recorded_and_not_followed(self, all_locked: tuple[GuildHome, Told]) -> None:
        home, _ = all_locked
        for kind in ("upstream-link", "pipeline", "batch", "plain"):
            run = home.run(kind)
            links = {path for path, seen in picture(run).items() if seen.kind == stat.S_IFLNK}
            assert links
            lines = (run / ".gitrun.lock").read_bytes().split(b"\n")
            for path in links:
                at = lines.index(b"#  " + path)
                target = os.fsencode(os.readlink(os.path.join(os.fsencode(run), path)))
                assert lines[at - 1].startswith(b"# l ") and b" target=" + target in lines[at - 1]
            assert not [line for line in lines for path in links if line.endswith(b"  " + path + b"/a.csv")]

    def test_sha256sum_agrees_with_each(self, all_locked: tuple[GuildHome, Told]) -> None:
        home, _ = all_locked
        for kind in FINISHED:
            command = ["sha256sum", "--strict", "--quiet", "-c", ".gitrun.lock"]
            done = subprocess.run(command, cwd=home.run(kind), capture_output=True, text=True)
            assert done.returncode == 0, (kind, done.stderr)

    def test_everything_belongs_to_the_user(self, all_locked: tuple[GuildHome, Told]) -> None:
        home, _ = all_locked
        assert {seen.owner[0] for seen in picture(home.runs).values()} == {UID}

    def test_unlock_gives_all_back(self, guild_made: GuildHome, before: GuildHome, shared_tmp: Path) -> None:
        home = duplicate(guild_made, shared_tmp / "home")
        assert call(home, "lock", "-q", "--all", home.home).code == 5
        told = call(home, "unlock", "--json", "--all", home.home)
        assert told.code == 3  # the active ones were not locked
        for ids in home.ids.values():
            for run in ids:
                assert picture(home.runs / run) == picture(before.runs / run)


@pytest.fixture
def guild_home(guild_made: GuildHome, shared_tmp: Path) -> GuildHome:
    """A home for one test with only these runs, since copying all takes its time."""
    base = shared_tmp / "guild"
    (base / "home" / "runs").mkdir(parents=True)
    kept = [guild_made.run(kind) for kind in ("plain", "error", "staged", "running")]
    subprocess.run(["cp", "-a", "--", guild_made.base / "project", base], check=True)
    subprocess.run(["cp", "-a", "--", *kept, base / "home" / "runs"], check=True)
    for made in (base, base / "home", base / "home" / "runs"):
        os.chown(made, UID, GID)
    return GuildHome(base, guild_made.ids)


@pytest.fixture
def locked(guild_home: GuildHome) -> GuildHome:
    """A home with the run `plain` locked, which has none of the four notes."""
    assert call(guild_home, "lock", guild_home.run("plain")).code == 0
    return guild_home


class TestNotes:
    def test_guild_writes_them_and_verify_shows_them(self, locked: GuildHome) -> None:
        run = locked.run("plain")
        for words in (["label", "--set", "best"], ["tag", "--add", "t"], ["comment", "--add", "c"], ["mark"]):
            done = locked.guild(*words, "-y", run.name)
            assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        assert "best" in locked.guild("runs", "info", run.name).stdout
        told = call(locked, "verify", "--json", "--strict", run).object
        assert (told["exit"], told["ok"], told["differences"]) == (0, True, [])
        assert {one["path"] for one in told["mutable"]} == {str(ATTRS / name) for name in FOR_PEOPLE}
        shown = call(locked, "verify", "-v", run)
        assert shown.code == 0 and ".guild/attrs/label" in shown.out + shown.err
        assert call(locked, "lock", run).out.startswith("already locked")
        assert call(locked, "lock", "--json", run).object["already"]

        assert locked.guild("tag", "--delete", "t", "-y", run.name).returncode == 0
        assert locked.guild("label", "--append", "of all", "-y", run.name).returncode == 0
        assert call(locked, "verify", run).code == 0

        told = call(locked, "unlock", "--json", run).object
        assert told["exit"] == 0
        for name in FOR_PEOPLE:
            assert (run / ATTRS / name).stat().st_size > 0  # what people wrote stays
        assert "best of all" in (run / ATTRS / "label").read_text()

    def test_what_nobody_wrote_in_goes_at_unlock(self, locked: GuildHome) -> None:
        run = locked.run("plain")
        created = {name for name in FOR_PEOPLE if (run / ATTRS / name).stat().st_size == 0}
        assert created >= {"tags", "comments", "marked"}
        assert locked.guild("tag", "--add", "kept", "-y", run.name).returncode == 0
        assert call(locked, "unlock", run).code == 0
        assert {name for name in created if (run / ATTRS / name).exists()} == {"tags"}

    def test_the_directory_of_attributes_stays_read_only(self, locked: GuildHome) -> None:
        run = locked.run("plain")
        assert stat.S_IMODE((run / ATTRS).stat().st_mode) & 0o222 == 0
        assert locked.guild("label", "--clear", "-y", run.name).returncode == 0
        assert (run / ATTRS / "label").exists()

    def test_what_guild_must_not_write_is_a_difference(self, locked: GuildHome) -> None:
        attribute = locked.run("plain") / ATTRS / "exit_status"
        attribute.chmod(0o644)
        attribute.write_text("1\n")
        told = call(locked, "verify", "--json", locked.run("plain")).object
        assert [(one["path"], one["kind"]) for one in told["differences"]] == [(".guild/attrs/exit_status", "modified")]

    def test_a_note_that_became_a_directory_is_a_difference(self, locked: GuildHome) -> None:
        run = locked.run("plain")
        (run / ATTRS).chmod(0o755)
        (run / ATTRS / "label").unlink()
        (run / ATTRS / "label").mkdir()
        assert call(locked, "verify", run).code == 4

    def test_a_note_that_guild_removed_through_force_is_shown(self, locked: GuildHome) -> None:
        run = locked.run("plain")
        (run / ATTRS).chmod(0o755)
        (run / ATTRS / "label").unlink()
        (run / ATTRS).chmod(0o555)
        told = call(locked, "verify", "--json", run).object
        assert told["exit"] in (0, 4) and ".guild/attrs/label" in {
            one["path"] for one in [*told["differences"], *told["mutable"]]
        }


class TestRestart:
    @pytest.mark.parametrize("flags", [[], ["lr=0.7"]])
    def test_it_fails_and_leaves_nothing(self, locked: GuildHome, flags: list[str]) -> None:
        run = locked.run("plain")
        seen = picture(run)
        done = locked.guild("run", "-y", "--restart", run.name, *flags)
        assert done.returncode != 0
        assert "Permission denied" in done.stderr + done.stdout and "PENDING" in done.stderr + done.stdout
        assert not (run / ".guild" / "PENDING").exists()
        assert picture(run) == seen
        assert call(locked, "verify", "--strict", run).code == 0

    def test_it_works_after_unlock(self, locked: GuildHome) -> None:
        run = locked.run("plain")
        assert call(locked, "unlock", run).code == 0
        done = locked.guild("run", "-y", "--restart", run.name)
        assert done.returncode == 0, done.stderr
        told = call(locked, "lock", "--json", run).object
        assert (told["exit"], told["already"]) == (0, False)


class TestActive:
    @pytest.mark.parametrize("marker", ["PENDING", "STAGED", "LOCK.remote"])
    def test_a_marker_is_refused_and_nothing_changes(self, guild_home: GuildHome, marker: str) -> None:
        run = guild_home.run("plain")
        (run / ".guild" / marker).write_text("there\n")
        give(run)
        seen = picture(guild_home.runs)
        told = call(guild_home, "lock", run)
        assert told.code == 5 and "hint:" in told.err and str(run) in told.err
        assert picture(guild_home.runs) == seen

    def test_force_locks_it_all_the_same(self, guild_home: GuildHome) -> None:
        run = guild_home.run("staged")
        assert call(guild_home, "lock", run).code == 5
        assert call(guild_home, "lock", "--force", run).code == 0
        assert call(guild_home, "verify", run).code == 0

    def test_a_restarted_run_that_is_running_is_active_whatever_its_status_says(self, guild_home: GuildHome) -> None:
        run, running = guild_home.run("plain"), guild_home.run("running")
        shutil.copy2(running / ".guild" / "LOCK", run / ".guild" / "LOCK")
        assert (run / ATTRS / "exit_status").exists()
        assert call(guild_home, "lock", run).code == 5

    def test_a_process_that_is_gone_does_not_matter(self, guild_home: GuildHome) -> None:
        run = guild_home.run("plain")
        (run / ".guild" / "LOCK").write_text("4194304\n")
        give(run)
        assert call(guild_home, "lock", run).code == 0


class TestNames:
    def test_an_id_and_its_beginning(self, guild_home: GuildHome) -> None:
        run = guild_home.run("plain")
        assert call(guild_home, "lock", run.name).code == 0
        assert call(guild_home, "verify", run.name[:8], cwd=Path("/")).code == 0
        assert call(guild_home, "status", "--json", run.name[:8]).object["run"] == run.name
        assert call(guild_home, "path", run.name[:8]).out == f"{guild_home.runs}/.gitrun/{run.name}.git\n"
        assert call(guild_home, "unlock", run.name[:8]).code == 0

    def test_an_ambiguous_beginning_is_wrong_usage(self, guild_home: GuildHome) -> None:
        first = guild_home.run("plain")
        twin = first.with_name(first.name[:12] + "0" * 20)
        subprocess.run(["cp", "-a", first, twin], check=True)
        told = call(guild_home, "lock", first.name[:12])
        assert told.code == 2 and first.name in told.err and twin.name in told.err
        assert not (first / ".gitrun.lock").exists()
        assert call(guild_home, "lock", first.name).code == 0

    @pytest.mark.parametrize("name", ["f" * 32, "zzzz", "nothing"])
    def test_an_unknown_one_is_3(self, guild_home: GuildHome, name: str) -> None:
        assert call(guild_home, "lock", name).code == 3

    def test_from_inside_the_home_without_the_variable(self, guild_home: GuildHome) -> None:
        run = guild_home.run("plain")
        (guild_home.base / ".guild").symlink_to("home")
        environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
        told = gitrun("lock", run.name[:10], cwd=guild_home.base / "project", env=environment, user=True)
        assert told.code == 0, told.err
        told = gitrun("verify", run.name[:10], cwd=guild_home.run("error"), env=environment, user=True)
        assert told.code == 0, told.err  # the `.guild` of a run is no home
        assert not (guild_home.run("error") / ".guild" / "cache").exists()

    def test_inside_the_run_it_is_the_default(self, guild_home: GuildHome) -> None:
        run = guild_home.run("plain")
        assert call(guild_home, "lock", cwd=run).code == 0
        assert call(guild_home, "verify", cwd=run).code == 0
        assert call(guild_home, "unlock", cwd=run).code == 0

    def test_an_orphan_by_its_id(self, guild_home: GuildHome) -> None:
        run = guild_home.run("plain")
        assert call(guild_home, "lock", run.name).code == 0
        seen = without_own(picture(run))
        remove_tree(run)
        assert call(guild_home, "status", "--json", run.name[:8]).object["state"] == "orphaned"
        assert call(guild_home, "restore", run.name[:8]).code == 0
        assert without_own(picture(run)) == seen


class TestMoves:
    def test_guild_deletes_an_unlocked_run_and_brings_it_back(self, locked: GuildHome) -> None:
        run = locked.run("plain")
        assert call(locked, "unlock", run).code == 0
        assert locked.guild("runs", "rm", "-y", run.name).returncode == 0
        assert not run.exists()
        assert locked.guild("runs", "restore", "-y", run.name).returncode == 0
        told = call(locked, "lock", "--json", run).object
        assert (told["exit"], told["run"]) == (0, run.name)
        assert call(locked, "status", "--json", run).object["locks"] == 2

    def test_an_exported_run_is_a_copy_that_verifies_alone(self, locked: GuildHome) -> None:
        run = locked.run("plain")
        target = locked.base / "export"
        done = locked.guild("runs", "export", "-y", str(target), run.name)
        assert done.returncode == 0, done.stderr
        told = call(locked, "verify", "--json", target / run.name).object
        assert (told["exit"], told["state"], told["run"]) == (0, "detached", run.name)
        assert call(locked, "verify", "--json", run).object["state"] == "locked"
        assert call(locked, "unlock", target / run.name).code == 0
        assert call(locked, "verify", "--json", run).object["state"] == "locked"

    def test_a_downstream_run_can_link_to_a_locked_one(self, locked: GuildHome) -> None:
        done = locked.guild("run", "-y", "eval-link", f"operation:train={locked.run('plain').name}")
        assert done.returncode == 0, done.stderr + done.stdout
        assert call(locked, "verify", "--strict", locked.run("plain")).code == 0


def test_guild_is_not_needed(guild_home: GuildHome) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(guild_home.base)}
    without = as_user([user_python(), "-c", "import guild"], capture_output=True, cwd="/")
    assert without.returncode != 0
    told = gitrun("lock", "--json", guild_home.run("plain"), env=environment, user=True)
    assert told.code == 0 and told.object["label"].startswith("train")
    assert modes(picture(guild_home.run("plain") / ATTRS))[b"id"] & 0o222 == 0


@pytest.mark.parametrize(
    ("kind", "outcome"), [("plain", "completed"), ("error", "error"), ("terminated", "terminated"), ("dep-failed", "")]
)
def test_status_tells_how_a_run_ended(all_locked: tuple[GuildHome, Told], kind: str, outcome: str) -> None:
    home, _ = all_locked
    run = home.run(kind)
    assert call(home, "status", "--json", run).object["outcome"] == outcome
    shown = call(home, "status", run).out
    assert ("[" in shown) == (outcome in ("error", "terminated"))


def test_log_tells_how_notes_changed_between_locks(guild_home: GuildHome) -> None:
    run = guild_home.run("plain")
    before = (run / ".guild" / "attrs" / "label").read_text().strip()
    assert call(guild_home, "lock", run).code == 0
    assert guild_home.guild("label", "-y", "--set", "the best one", run.name).returncode == 0
    assert guild_home.guild("mark", "-y", run.name).returncode == 0
    assert call(guild_home, "unlock", run).code == 0
    assert call(guild_home, "lock", run).code == 0
    newest = call(guild_home, "log", "--json", run).object["locks"][0]
    told = {change["path"]: (change["expected"], change["actual"]) for change in newest["changes"]}
    assert told[".guild/attrs/label"] == (before, "the best one")
    assert told[".guild/attrs/marked"] == ("", "true")
    assert "the best one" in call(guild_home, "log", "--stat", run).out
