"""The event stream: what happens is told once, in order, with who asked for it."""

import os
import signal
import unittest

import kernel
from harness import MEMORY, MIB, DaemonCase, name_of, parse_time, wait_until

SLOW = ("host:0=1GiB", "host:1=1GiB", "fake:0=1GiB,rate=50MiB/s")


def about(event_type, allocation):
    return lambda event: event.type == event_type and event.data.get("allocationId") == name_of(allocation)


class Stream(DaemonCase):
    devices = SLOW

    def test_it_is_an_event_stream(self):
        with self.daemon.events() as events:
            self.assertEqual(200, events.status)
            self.assertTrue(events.headers["Content-Type"].startswith("text/event-stream"))
            self.assertIn("no-", events.headers["Cache-Control"] or "")

    def test_an_allocation_is_told_from_birth_to_death(self):
        with self.daemon.events() as events:
            allocation = self.allocate(2 * MIB)
            self.free(allocation)
            created, _ = events.find(about("allocation.created", allocation))
            freed, _ = events.find(about("allocation.freed", allocation))
            self.assertLess(created.id, freed.id)

    def test_every_event_says_when_what_and_who_asked(self):
        with self.daemon.events("?types=allocation.created") as events:
            answer = self.daemon.post(f"{MEMORY}/allocations/allocate/host:0", {"sizeBytes": 4096},
                                      {"X-Correlation-ID": "it-was-me"})
            event = events.next()
            self.assertEqual("allocation.created", event.data["type"])
            self.assertEqual("it-was-me", event.data["correlationId"])
            self.assertEqual(name_of(answer.data["allocation"]), event.data["allocationId"])
            self.assertLess(abs(parse_time(event.data["time"]) - parse_time(answer.body["timestamp"])), 10)

    def test_ids_rise(self):
        with self.daemon.events("?types=allocation.created,allocation.freed") as events:
            for _ in range(50):
                self.free(self.allocate(4096))
            ids = [events.next().id for _ in range(100)]
            self.assertEqual(sorted(set(ids)), ids)

    def test_only_the_types_that_were_asked_for(self):
        with self.daemon.events("?types=allocation.freed") as events:
            for _ in range(5):
                self.free(self.allocate(4096))
            self.assertEqual(["allocation.freed"] * 5, [events.next().type for _ in range(5)])

    def test_a_returning_client_hears_what_it_missed(self):
        with self.daemon.events("?types=allocation.created") as events:
            first = self.allocate(4096)
            last_heard = events.find(about("allocation.created", first))[0].id
        missed = [self.allocate(4096) for _ in range(5)]
        headers = {"Last-Event-ID": str(last_heard)}
        with self.daemon.events("?types=allocation.created", headers) as events:
            self.assertEqual([name_of(a) for a in missed], [events.next().data["allocationId"] for _ in missed])

    def test_a_new_client_does_not_hear_the_past(self):
        self.allocate(4096)
        with self.daemon.events("?types=allocation.created") as events:
            new = self.allocate(4096)
            self.assertEqual(name_of(new), events.next().data["allocationId"])

    def test_a_last_event_id_that_is_none(self):
        with self.daemon.events(headers={"Last-Event-ID": "rubbish"}) as events:
            self.assertIn(events.status, (200, 400))
        self.ok(self.daemon.get("/health"))

    def test_a_moved_allocation(self):
        allocation = self.allocate(1 * MIB)
        with self.daemon.events("?types=allocation.moved") as events:
            self.transfer(allocation, mode="move")
            event = events.next()
            self.assertEqual(name_of(allocation), event.data["allocationId"])

    def test_an_expired_allocation(self):
        with self.daemon.events("?types=allocation.expired") as events:
            allocation = self.allocate(4096, ttlSeconds=1)
            self.assertEqual(name_of(allocation), events.next().data["allocationId"])

    def test_a_transfer_from_start_to_end(self):
        with self.daemon.events("?types=transfer.started,transfer.completed") as events:
            transfer = self.transfer(self.allocate(1 * MIB))
            heard = [events.next() for _ in range(2)]
            self.assertEqual(["transfer.started", "transfer.completed"], [e.type for e in heard])
            self.assertEqual({transfer["transferId"]}, {e.data["transferId"] for e in heard})

    def test_a_cancelled_transfer(self):
        with self.daemon.events("?types=transfer.cancelled") as events:
            transfer = self.start_transfer(self.allocate(400 * MIB), target="fake:0", verify=False)
            self.transfer_moves(transfer)
            self.daemon.delete(f"{MEMORY}/transfer/{transfer['transferId']}")
            self.assertEqual(transfer["transferId"], events.next().data["transferId"])

    def test_a_failed_transfer_and_its_worker(self):
        with self.daemon.events("?types=transfer.failed,worker.exited,worker.ready") as events:
            transfer = self.start_transfer(self.allocate(400 * MIB), target="fake:0", verify=False)
            self.transfer_moves(transfer)
            worker = self.mover()
            os.kill(worker["pid"], signal.SIGKILL)
            found = {}
            while found.keys() != {"transfer.failed", "worker.exited", "worker.ready"}:
                event = events.next()
                found[event.type] = event.data
            self.assertEqual(transfer["transferId"], found["transfer.failed"]["transferId"])
            self.assertEqual(worker["workerId"], found["worker.exited"]["workerId"])

    def test_progress_of_a_long_job(self):
        with self.daemon.events("?types=job.progress") as events:
            transfer = self.start_transfer(self.allocate(400 * MIB), target="fake:0", verify=False)
            event = events.next()
            self.assertEqual(transfer["transferId"], event.data["jobId"])
            done = 100 * event.data["bytesDone"] / event.data["bytesTotal"]
            self.assertAlmostEqual(done, event.data["progressPercent"], delta=0.01)
            self.daemon.delete(f"{MEMORY}/transfer/{transfer['transferId']}")

    def test_pressure_that_changes(self):
        with self.daemon.events("?types=pressure.changed") as events:
            self.allocate(960 * MIB)
            event, _ = events.find(lambda e: e.data.get("deviceId") == "host:0")
            self.assertEqual("high", event.data["level"])

    def test_many_listen_at_once(self):
        streams = [self.daemon.events("?types=allocation.created") for _ in range(50)]
        try:
            allocation = self.allocate(4096)
            for events in streams:
                self.assertEqual(name_of(allocation), events.next().data["allocationId"])
        finally:
            for events in streams:
                events.close()

    def test_a_listener_that_does_not_read_holds_up_nobody(self):
        with self.daemon.raw(f"GET {MEMORY}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()):
            with self.daemon.session() as session:
                for _ in range(3000):
                    answer = session.post(f"{MEMORY}/allocations/allocate/host:0", {"sizeBytes": 4096})
                    session.delete(f"{MEMORY}/allocations/{name_of(answer.data['allocation'])}")
            with self.daemon.events("?types=allocation.created") as events:
                allocation = self.allocate(4096)
                events.find(about("allocation.created", allocation))

    def test_listeners_that_leave_are_forgotten(self):
        self.daemon.get("/health")
        before = kernel.fd_count(self.daemon.pid)
        for _ in range(100):
            self.daemon.events().close()
        self.allocate(4096)
        wait_until(lambda: kernel.fd_count(self.daemon.pid) <= before + 3, "the fds to come back", 60)


class Socket(DaemonCase):
    """The same over the Unix socket."""

    def setUp(self):
        super().setUp()
        self.unix = self.daemon.unix()
        self.addCleanup(self.unix.close)

    def follow(self, unix=None, **data):
        answer = (unix or self.unix).call("memory.events", data)
        self.assertEqual({"request_id": answer["request_id"], "success": True, "data": {}}, answer)

    def created(self, allocation, unix=None):
        line = (unix or self.unix).line()
        self.assertEqual(("allocation.created", name_of(allocation)), (line["event"], line["data"]["allocation_id"]))
        return line["id"]

    def test_events_come_behind_the_answer(self):
        self.follow(types="allocation.*")
        allocation = self.allocate(4096)
        self.created(allocation)
        self.free(allocation)
        self.assertEqual("allocation.freed", self.unix.line()["event"])

    def test_they_are_those_of_http(self):
        with self.daemon.events("?types=allocation.created") as events:
            self.follow(types="allocation.created")
            self.allocate(4096)
            line, event = self.unix.line(), events.next()
        self.assertEqual(event.id, line["id"])
        self.assertEqual([event.data[key] for key in ("time", "type", "correlationId", "allocationId", "sizeBytes")],
                         [line["data"][key] for key in ("time", "type", "correlation_id", "allocation_id", "size_bytes")])

    def test_only_the_types_that_were_asked_for(self):
        self.follow(types="allocation.freed,transfer.*")
        for _ in range(3):
            self.free(self.allocate(4096))
        self.transfer(self.allocate(4096))
        self.assertEqual(["allocation.freed"] * 3 + ["transfer.started", "transfer.completed"],
                         [self.unix.line()["event"] for _ in range(5)])

    def test_a_type_that_is_none(self):
        answer = self.unix.call("memory.events", {"types": "allocation.eaten"})
        self.assertEqual(("INVALID_ARGUMENT", "types"), (answer["error_code"], answer["details"]["field"]))
        self.allocate(4096)
        self.assertTrue(self.unix.call("ping")["success"])

    def test_a_returning_client_hears_what_it_missed(self):
        self.follow(types="allocation.created")
        last = self.created(self.allocate(4096))
        self.unix.close()
        missed = [self.allocate(4096) for _ in range(5)]
        with self.daemon.unix() as unix:
            self.follow(unix, types="allocation.created", last_event_id=last)
            for allocation in missed:
                self.created(allocation, unix)

    def test_the_connection_goes_on_being_one(self):
        self.follow(types="allocation.created")
        allocation = self.allocate(4096)
        request = self.unix.send("memory.get_status")
        lines = {line.get("event", line.get("request_id")): line for line in (self.unix.line(), self.unix.line())}
        self.assertEqual({"allocation.created", request}, lines.keys())  # in either order
        self.assertEqual(name_of(allocation), lines["allocation.created"]["data"]["allocation_id"])
        self.assertTrue(lines[request]["success"])

    def test_the_last_question_counts(self):
        self.follow(types="allocation.created")
        self.follow(types="allocation.freed")
        self.free(self.allocate(4096))
        self.assertEqual("allocation.freed", self.unix.line()["event"])

    def test_one_who_does_not_read_holds_up_nobody(self):
        self.follow()
        with self.daemon.session() as session:
            for _ in range(500):
                made = session.post(f"{MEMORY}/allocations/allocate/host:0", {"sizeBytes": 4096}).data["allocation"]
                session.delete(f"{MEMORY}/allocations/{made['allocationId']}")
        self.daemon.stop()


class Attached(DaemonCase):
    """Who has memory in hand, and until when."""

    def setUp(self):
        super().setUp()
        self.name = name_of(self.allocate(4096))

    def attach(self, unix):
        self.assertTrue(unix.call("memory.attach", {"allocation_id": self.name})["success"])

    def facts(self, event, word, pid=None):
        self.assertEqual((f"allocation.{word}", self.name, "host:0", 4096, "buffers", pid or os.getpid()),
                         (event.type, *(event.data[key] for key in ("allocationId", "deviceId", "sizeBytes", "purpose",
                                                                    "pid"))))

    def test_an_attachment_from_its_begin_to_its_end(self):
        with self.daemon.events("?types=allocation.attached,allocation.detached") as events, self.daemon.unix() as unix:
            self.attach(unix)
            self.facts(events.next(), "attached")
            unix.call("memory.detach", {"allocation_id": self.name})
            self.facts(events.next(), "detached")
        history = self.look(self.name)["history"]
        self.assertEqual(["created", "attached", "detached"], [entry["event"] for entry in history])
        self.assertTrue(history[1]["detail"].endswith(f"process {os.getpid()}"), history)

    def test_one_that_ends_with_its_connection(self):
        with self.daemon.events("?types=allocation.attached,allocation.detached") as events:
            with self.daemon.unix() as unix:
                self.attach(unix)
                self.facts(events.next(), "attached")
            self.facts(events.next(), "detached")

    def test_one_that_ends_with_its_process(self):
        with self.daemon.events("?types=allocation.attached,allocation.detached") as events:
            pid = os.fork()
            if not pid:
                try:
                    with self.daemon.unix() as unix:
                        self.attach(unix)
                        signal.pause()
                finally:
                    os._exit(1)
            self.facts(events.next(), "attached", pid)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self.facts(events.next(), "detached", pid)

    def test_of_memory_that_is_gone_what_is_not_known_is_null(self):
        with self.daemon.unix() as holder, self.daemon.unix() as unix:
            self.attach(holder)
            self.assertEqual({}, unix.call("memory.events", {"types": "allocation.detached"})["data"])
            self.free(self.name, force=True)
            holder.call("memory.detach", {"allocation_id": self.name})
            line = unix.line()
        self.assertEqual(("allocation.detached", self.name, "host:0", None, None, os.getpid()),
                         (line["event"], *(line["data"][key] for key in ("allocation_id", "device_id", "size_bytes",
                                                                         "purpose", "pid"))))

    def test_what_is_allocated_over_the_socket_is_attached_by_that_request(self):
        with self.daemon.events("?types=allocation.*") as events, self.daemon.unix() as unix:
            unix.call("memory.allocate", {"size_bytes": 4096}, correlation_id="it-was-me")
            self.assertEqual([("allocation.created", "it-was-me"), ("allocation.attached", "it-was-me")],
                             [(e.type, e.data["correlationId"]) for e in (events.next(), events.next())])


class Query(DaemonCase):
    def test_the_last_id_may_stand_in_the_query(self):
        with self.daemon.events("?types=allocation.created") as events:
            self.allocate(4096)
            last = events.next().id
        missed = self.allocate(4096)
        with self.daemon.events(f"?types=allocation.created&lastEventId={last}") as events:
            self.assertEqual(name_of(missed), events.next().data["allocationId"])


if __name__ == "__main__":
    unittest.main()
