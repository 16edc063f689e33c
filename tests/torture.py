#!/usr/bin/env python3
"""Random operations while the daemon, the vault, a worker or a client is killed: nothing that was promised is lost.

    tests/torture.py [--seed N] [--kills N] [--seconds N] [--reckless]

The next kill comes once /health/detailed says `durable:true`. With --reckless kills come in bursts that do not wait:
then memory may be lost, but each loss has to be reported (status `lost`), or all of it is gone at once with the last
process that held it, and the books are right again. Ends with 1 and the reason when anything is not so.
"""

import argparse
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "e2e"))

import kernel  # noqa: E402
from actors import HUNG_UP, LIMITED, Actor, Client, World  # noqa: E402
from harness import MEMORY, Daemon, wait_until  # noqa: E402
from restart import VaultHands, held_by_anybody, vault_pid  # noqa: E402

DEVICES = ("host:0=1GiB", "host:1=512MiB", "fake:0=512MiB")
ACTORS, CLIENTS = 3, 2
DURABLE, CLIENT_BACK = 0.5, 1.0  # seconds promised
SPARE_FDS = 16  # of connections that are just being closed


class Torture:
    def __init__(self, seed, reckless, slack):
        self.chance, self.reckless, self.slack = random.Random(seed), reckless, slack
        self.daemon = Daemon(devices=DEVICES)
        self.world = World(self.daemon, reckless)
        self.actors = [Actor(self.world, number, seed) for number in range(ACTORS)]
        self.clients, self.client_count = [], 0
        self.kills, self.slowest = {}, {}
        self.last = set()  # who was killed since the last check
        self.fds = None

    # -- what is there

    def get(self, path):
        answer = self.daemon.get(path)
        if answer.status != 200:
            raise AssertionError(f"{path}: {answer.status} {answer.body}")
        return answer.data

    def allocations(self):
        found, cursor = {}, ""
        while cursor is not None:
            page = self.get(f"{MEMORY}/allocations?limit=1000" + (cursor and f"&cursor={cursor}"))
            found |= {a["allocationId"]: a for a in page["allocations"]}
            cursor = page["nextCursor"]
        return found

    def vault(self):
        return vault_pid(self.daemon.runtime)

    def durable(self):
        try:
            return self.get("/health/detailed")["durable"]
        except HUNG_UP:
            return False

    def took(self, what, start, limit=None):
        """Notes how long it took; more than promised is a failure."""
        seconds = time.monotonic() - start
        self.slowest[what] = max(seconds, self.slowest.get(what, 0))
        if limit and seconds > limit * self.slack:
            raise AssertionError(f"{what} took {seconds:.3f} s")

    # -- kills

    def count_kill(self, what):
        self.kills[what] = self.kills.get(what, 0) + 1
        self.last.add(what)

    def add_client(self):
        self.client_count += 1
        self.clients.append(Client(self.daemon.socket_path, f"client-{self.client_count}"))

    def start_daemon(self):
        start = time.monotonic()
        self.daemon.start()
        self.took("daemon ready", start)
        self.world.up.set()

    def kill_daemon(self):
        if self.daemon.process.poll() is None:
            self.count_kill("daemon")
            self.world.up.clear()
            self.daemon.kill()

    def a_client(self):
        """One that has what it will have, while the daemon lives."""
        client = self.clients.pop(self.chance.randrange(len(self.clients)))
        client.settle()
        return client

    def client_goes(self, client):
        client.kill()
        self.count_kill("client")

    def client_is_missed(self, pid, start):
        wait_until(lambda: pid not in {a["owner"]["pid"] for a in self.allocations().values()},
                   f"the memory of client {pid} to come back")
        self.took("client's memory back", start, CLIENT_BACK)
        self.add_client()

    def daemon_dies(self):
        client = self.a_client() if self.chance.random() < 0.2 else None
        self.kill_daemon()
        if client:
            self.client_goes(client)
        self.start_daemon()
        if client:
            self.client_is_missed(client.pid, time.monotonic())

    def vault_dies(self):
        old = self.vault()
        self.count_kill("vault")
        start = time.monotonic()
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: self.vault() not in (None, old) and self.durable(), "another vault that has all")
        self.took("durable again", start, DURABLE)

    def worker_dies(self):
        """The mover, if there is one at this moment."""
        for pid in kernel.ids_of_children(self.daemon.pid):
            try:
                if kernel.arguments(pid)[0].endswith("memkeep-worker"):
                    os.kill(pid, signal.SIGKILL)
                    self.count_kill("worker")
                    return
            except (OSError, IndexError):
                continue

    def client_dies(self):
        client = self.a_client()
        self.client_goes(client)
        self.client_is_missed(client.pid, time.monotonic())

    def burst(self):
        """Kills that wait for nothing; then a daemon again."""
        for _ in range(self.chance.randrange(1, 5)):
            kill = self.chance.choice((self.kill_daemon, self.worker_dies, self.vault_is_killed, self.vault_is_filled,
                                       self.vault_forgets))
            kill()
            if self.daemon.process.poll() is not None and self.chance.random() < 0.5:
                self.start_daemon()
            time.sleep(self.chance.choice((0, 0.002, 0.01, 0.03)))
        if self.daemon.process.poll() is not None:
            self.start_daemon()
        wait_until(self.durable, "it to be durable")

    def vault_is_killed(self):
        pid = self.vault()
        if pid:
            os.kill(pid, signal.SIGKILL)
            self.count_kill("vault")

    def vault_is_filled(self):
        """The daemon is killed in the middle of filling another vault, if it comes to that."""
        old = self.vault()
        self.vault_is_killed()
        if old and self.daemon.process.poll() is None:
            wait_until(lambda: self.vault() not in (None, old), "another vault")
            time.sleep(self.chance.uniform(0, 0.002))
            self.kill_daemon()

    def vault_forgets(self):
        """As if it had been filled half way only: some segments are taken from it while there is no daemon."""
        self.kill_daemon()
        if not self.vault():
            return
        try:
            with VaultHands(self.daemon.runtime) as vault:
                for number in vault.segments():
                    if number and self.chance.random() < 0.1:
                        vault.drop(f"s-{number:016x}")
        except OSError:
            return  # it is just dying

    # -- checks, while the actors stand still

    def check(self, thorough):
        with self.world.standing_still():
            for client in self.clients:
                client.settle()
                os.kill(client.pid, signal.SIGSTOP)
            try:
                if self.reckless:
                    self.take_losses()
                self.check_promises()
                self.check_books()
                self.check_fds()
                if thorough:
                    self.check_resident()
            finally:
                for client in self.clients:
                    os.kill(client.pid, signal.SIGCONT)

    @staticmethod
    def ledger_of(allocation):
        """The part of an id that is drawn anew for each ledger."""
        return allocation[2:6]

    def take_losses(self):
        """What is lost is said to be, or the whole ledger is gone with the last who held it; what is lost is freed, and
        the rest has to be as it was."""
        found = self.allocations()
        held = {h.id: actor for actor in self.actors for h in actor.held.values()}
        missing = held.keys() - found.keys()
        ledgers = {self.ledger_of(id) for id in missing}
        if any(self.ledger_of(id) in ledgers for id in found) or (missing and not {"daemon", "vault"} <= self.last):
            raise AssertionError(f"lost in silence after {self.last}: {missing} of {held.keys()}")
        self.world.count("lost with a ledger and all its holders", len(missing))
        lost = {id for id, view in found.items() if view["status"] == "lost"}
        self.world.count("lost and reported", len(lost & held.keys()))
        for id in lost:
            answer = self.daemon.delete(f"{MEMORY}/allocations/{id}?force=true")
            if answer.status != 200:
                raise AssertionError(f"what is lost cannot be freed: {answer.body}")
        for id in (missing | lost) & held.keys():
            del held[id].held[id]
        for client in self.clients:
            client.ids &= found.keys() - lost
        self.last.clear()
        answer = self.daemon.put(f"{MEMORY}/limits/{LIMITED}", {"maxBytes": self.world.limit})
        if answer.status != 200 or self.daemon.post(f"{MEMORY}/operations/clear", {}).status != 200:
            raise AssertionError("limits and clear")

    def check_promises(self):
        found = self.allocations()
        pids = {client.pid for client in self.clients}
        for client in self.clients:
            if not client.ids <= found.keys():
                raise AssertionError(f"of the living client {client.pid} are missing {client.ids - found.keys()}")
        mine = set()
        for actor in self.actors:
            for held in actor.held.values():
                if held.id not in found:
                    raise AssertionError(f"missing: {held}")
                Actor.compare(held, found[held.id])
                self.check_bytes(held)
                mine.add(held.id)
        strange = [a for a in found.values() if a["allocationId"] not in mine and a["owner"]["pid"] not in pids]
        if strange:
            raise AssertionError(f"nobody's: {strange}")
        limit = self.get(f"{MEMORY}/status/{LIMITED}")["limits"]["maxBytes"]
        if limit != self.world.limit:
            raise AssertionError(f"the limit is {limit}, not {self.world.limit}")

    def check_bytes(self, held):
        """Through a copy on the same device; the worker may just be starting."""
        if held.value is None:
            return

        def summed():
            made = self.daemon.post(f"{MEMORY}/allocations/allocate/{held.device}", {"sizeBytes": held.size})
            if made.status == 507:
                return "no room"
            scratch = made.data["allocation"]["allocationId"]
            answer = self.daemon.post(f"{MEMORY}/operations/copy", {"sourceAllocationId": held.id,
                                                                    "targetAllocationId": scratch})
            self.daemon.delete(f"{MEMORY}/allocations/{scratch}")
            return answer.data["checksum"] if answer.status == 200 else None
        found = wait_until(summed, f"a copy of {held}")
        if found != "no room":
            self.world.check_sum(held.size, held.value, found, f"after {sum(self.kills.values())} kills {held}")
            self.world.count("checksums")

    def books(self):
        """What differs between the books and the kernel, "" for nothing."""
        devices = self.get(f"{MEMORY}/status")["devices"]
        segments = [s for d in devices for s in self.get(f"{MEMORY}/segments/{d['deviceId']}?limit=1000")["segments"]]
        sizes = sorted(s["sizeBytes"] for s in segments)
        held = kernel.memfds(self.vault())
        try:
            ledgers = [inode for inode, (path, _, _) in held.items() if "memkeep-ledger" in os.readlink(path)]
        except FileNotFoundError as gone:
            return f"the vault closed {gone.filename} while it was looked at"
        kept = sorted(size for inode, (_, size, _) in held.items() if inode not in ledgers)
        allocated = sum(a["sizeBytes"] for a in self.allocations().values())
        for what, books, truth in (
                ("ledgers", 1, len(ledgers)), ("segments", sizes, kept),
                ("committed and cached", sum(d["committedBytes"] + d["cachedBytes"] for d in devices), sum(kept)),
                ("allocated", sum(d["allocatedBytes"] for d in devices), allocated),
                ("the daemon's memfds", kernel.memfds(self.daemon.pid).keys(), held.keys()),
                ("the workers' memfds", set(), self.of_workers() - held.keys())):
            if books != truth:
                return f"{what}: {books}, and the kernel says {truth}"
        return ""

    def of_workers(self):
        vault = self.vault()
        pids = [pid for pid in kernel.ids_of_children(self.daemon.pid) if pid != vault]
        return set(kernel.memfds(*pids).keys())

    def check_books(self):
        """A release that was answered may still be on its way through the vault."""
        last = ""

        def agree():
            nonlocal last
            last = self.books()
            return not last
        try:
            wait_until(agree, "the books to agree", 10)
        except AssertionError:
            raise AssertionError(f"the books do not agree: {last}") from None

    def check_resident(self):
        """The figure is sampled each second. A fake card's is what it promised."""
        def agree():
            hosts = [d for d in self.get(f"{MEMORY}/status")["devices"] if d["backend"] == "host"]
            truth = sum(pages for path, _, pages in kernel.memfds(self.vault()).values()
                        if os.readlink(path).startswith("/memfd:memkeep ("))
            return sum(d["residentBytes"] for d in hosts) == truth
        wait_until(agree, "residentBytes to be what the kernel says", 10)

    def check_fds(self):
        """Descriptors that are no memory: no more of them than after the first start."""
        def others(pid):
            return kernel.fd_count(pid) - len(kernel.memfds(pid))
        if self.fds is None:
            self.fds = others(self.daemon.pid)
        wait_until(lambda: others(self.daemon.pid) <= self.fds + SPARE_FDS, "the daemon's fds to be as before")
        wait_until(lambda: others(self.vault()) <= 16, "the vault's fds to be as before")

    # -- the whole

    def one_kill(self, number):
        time.sleep(self.chance.uniform(0, 0.04))
        if self.reckless:
            self.burst()
            return self.check(number % 10 == 0)
        wait_until(self.durable, "it to be durable")
        kill = self.chance.choices((self.daemon_dies, self.vault_dies, self.worker_dies, self.client_dies),
                                   (5, 2, 2, 1))[0]
        kill()
        if kill == self.daemon_dies or number % 5 == 0:
            self.check(number % 20 == 0)

    def run(self, kills, seconds):
        """True when all that was promised is so."""
        end, number = time.monotonic() + seconds, 0
        try:
            self.check(True)
            for _ in range(CLIENTS):
                self.add_client()
            for actor in self.actors:
                actor.start()
            while sum(self.kills.values()) < kills and time.monotonic() < end and not self.world.over.is_set():
                number += 1
                self.one_kill(number)
            self.check(True)
        except BaseException:
            self.world.fail(traceback.format_exc())
        self.world.over.set()
        self.finish()
        return not self.world.failures

    def finish(self):
        for client in self.clients:
            client.kill()
        self.world.up.set()
        if self.world.failures:
            print(f"--- memkeepd\n{self.daemon.log()[-20000:]}---")
        try:
            for actor in self.actors:
                if actor.ident:
                    actor.join(10)
            vault = self.vault()
            inodes = kernel.memfds(self.daemon.pid, *([vault] if vault else [])).keys()
            self.daemon.close()
            wait_until(lambda: not held_by_anybody(inodes), "the pages to be let go")
        except BaseException:
            self.world.fail(traceback.format_exc())
        for failure in self.world.failures:
            print(failure)

    def report(self):
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.world.counts.items()) if count)
        times = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in sorted(self.slowest.items()))
        return f"{sum(self.kills.values())} kills ({kills}); {counts}; at most: {times}"


def torture(seed, kills, seconds, reckless=False, slack=1):
    """Runs it and prints what was done; True when all was as promised."""
    one = Torture(seed, reckless, slack)
    fine = one.run(kills, seconds)
    print(f"torture{' without waiting' if reckless else ''}, seed {seed}: {one.report()}", flush=True)
    return fine


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10 ** 6))
    words.add_argument("--kills", type=int, default=500)
    words.add_argument("--seconds", type=float, default=3600)
    words.add_argument("--reckless", action="store_true", help="do not wait between kills")
    flags = words.parse_args()
    sys.exit(not torture(flags.seed, flags.kills, flags.seconds, flags.reckless))


if __name__ == "__main__":
    main()
