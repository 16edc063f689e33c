"""What happens to allocations once they are made: looked at, listed, freed, expired, waited for, asked for twice."""

import json
import threading
import time
import unittest
from collections import Counter

import kernel
import shapes
from doors import Raw, request_bytes
from harness import KIB, MEMORY, MIB, DaemonCase, SharedDaemonCase, name_of, wait_until

ALLOCATE = f"{MEMORY}/allocations/allocate"


class Looking(DaemonCase):
    def test_one_allocation_has_its_history(self):
        allocation = self.allocate(4096)
        looked = self.look(allocation)
        history = looked.pop("history")
        looked.pop("historyTruncated", None)
        self.assert_shape(looked, shapes.ALLOCATION)
        self.assert_shape(history, shapes.HISTORY)
        self.assertTrue(history[0]["event"].endswith("created"), history)

    def test_history_tells_what_happened_in_order(self):
        allocation = self.allocate(1 * MIB)
        self.transfer(allocation, mode="move")
        events = [entry["event"].rpartition(".")[2] for entry in self.look(allocation)["history"]]
        self.assertEqual("created", events[0])
        self.assertIn("moved", events[1:])

    def test_use_through_the_daemon_counts_as_access(self):
        allocation = self.allocate(4096)
        self.assertEqual(0, self.look(allocation)["accessCount"])
        self.fill(allocation, 1)
        looked = self.look(allocation)
        self.assertEqual(1, looked["accessCount"])
        self.assertGreaterEqual(looked["lastAccessedAt"], looked["createdAt"])

    def test_looking_is_no_access(self):
        allocation = self.allocate(4096)
        for _ in range(3):
            self.look(allocation)
        self.assertEqual(0, self.look(allocation)["accessCount"])

    def test_ids_that_are_none(self):
        for text in ("a-0123456789abcdef", "a-0", "x", "a-0123456789ABCDEF", "s-0123456789abcdef", "..", "%20"):
            with self.subTest(text):
                self.refused(self.daemon.get(f"{MEMORY}/allocation/{text}"), 404, "ALLOCATION_NOT_FOUND")

    def test_an_unknown_id_is_named(self):
        error = self.refused(self.daemon.get(f"{MEMORY}/allocation/a-00000000deadbeef"), 404, "ALLOCATION_NOT_FOUND")
        self.assertEqual("a-00000000deadbeef", error["details"]["allocationId"])


class Listing(SharedDaemonCase):
    """Twelve allocations: sizes 1 … 12 KiB, two purposes, two devices, labels l0 … l11."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.made = []
        for i in range(12):
            body = {"sizeBytes": (12 - i) * KIB, "purpose": ("kv_cache", "staging")[i % 2], "label": f"l{i}"}
            answer = cls.daemon.post(f"{ALLOCATE}/host:{i // 8}", body)
            cls.made.append(answer.data["allocation"])

    def page(self, query="", path="allocations"):
        data = self.ok(self.daemon.get(f"{MEMORY}/{path}?{query}"))
        self.assert_shape(data, shapes.LISTED)
        return data

    def ids(self, query="", path="allocations"):
        return [a["allocationId"] for a in self.page(query, path)["allocations"]]

    def test_all_are_there_in_order_of_creation(self):
        self.assertEqual([name_of(a) for a in self.made], self.ids())

    def test_totals_are_of_all_not_of_the_page(self):
        page = self.page("limit=5")
        self.assertEqual((12, sum(a["sizeBytes"] for a in self.made)), (page["totalAllocations"], page["totalBytes"]))

    def test_pages_by_cursor_hold_each_once(self):
        for order in ("sort=createdAt", "sort=createdAt&order=desc", "sort=sizeBytes", "sort=sizeBytes&order=desc",
                      "sort=lastAccessedAt", "purpose=staging"):
            with self.subTest(order):
                seen, cursor = [], ""
                while cursor is not None:
                    page = self.page(f"{order}&limit=5" + (cursor and f"&cursor={cursor}"))
                    self.assertLessEqual(len(page["allocations"]), 5)
                    seen += [name_of(a) for a in page["allocations"]]
                    cursor = page["nextCursor"]
                self.assertEqual(self.ids(order), seen)
                self.assertEqual(len(set(seen)), len(seen))

    def test_the_last_page_has_no_cursor(self):
        self.assertIsNone(self.page("limit=12")["nextCursor"])

    def test_what_is_made_while_paging_does_not_disturb(self):
        first = self.page("limit=6")
        self.free(self.allocate(4096))
        second = self.page(f"limit=6&cursor={first['nextCursor']}")
        self.assertEqual([name_of(a) for a in self.made],
                         [name_of(a) for a in first["allocations"] + second["allocations"]])

    def test_sorted_by_size(self):
        self.assertEqual([name_of(a) for a in reversed(self.made)], self.ids("sort=sizeBytes&order=asc"))
        self.assertEqual([name_of(a) for a in self.made], self.ids("sort=sizeBytes&order=desc"))

    def test_newest_first(self):
        self.assertEqual([name_of(a) for a in reversed(self.made)], self.ids("sort=createdAt&order=desc"))

    def test_by_purpose(self):
        self.assertEqual([name_of(a) for a in self.made[1::2]], self.ids("purpose=staging"))

    def test_by_label(self):
        self.assertEqual([name_of(self.made[7])], self.ids("label=l7"))

    def test_by_owner(self):
        owner = self.made[0]["owner"]
        self.assertEqual(12, len(self.ids(f"owner={owner['id']}")))
        self.assertEqual([], self.ids("owner=nobody-of-this-name"))

    def test_by_model(self):
        self.assertEqual([], self.ids("modelId=m-0123456789abcdef"))

    def test_of_one_device(self):
        self.assertEqual([name_of(a) for a in self.made[8:]], self.ids(path="allocations/device/host:1"))

    def test_of_one_device_and_purpose(self):
        self.assertEqual([name_of(a) for a in self.made[8::2]],
                         self.ids("purpose=kv_cache", "allocations/device/host:1"))

    def test_of_an_unknown_device(self):
        self.refused(self.daemon.get(f"{MEMORY}/allocations/device/cuda:0"), 404, "DEVICE_NOT_FOUND")

    def test_queries_that_make_no_sense(self):
        for query, field in (("limit=0", "limit"), ("limit=1001", "limit"), ("limit=-1", "limit"),
                             ("limit=ten", "limit"), ("limit=1.0", "limit"), ("limit=", "limit"),
                             ("cursor=rubbish", "cursor"), ("purpose=fun", "purpose"), ("sort=colour", "sort"),
                             ("order=up", "order")):
            with self.subTest(query):
                self.refused_field(self.daemon.get(f"{MEMORY}/allocations?{query}"), "INVALID_ARGUMENT", field)

    def test_a_query_that_is_not_known(self):
        self.refused_field(self.daemon.get(f"{MEMORY}/allocations?page=2"), "UNKNOWN_FIELD", "page")


class Freeing(DaemonCase):
    def test_it_answers_what_came_back(self):
        allocation = self.allocate(5 * MIB)
        data = self.free(allocation)
        self.assert_shape(data, shapes.FREED)
        self.assertEqual((name_of(allocation), 5 * MIB), (data["allocationId"], data["freedBytes"]))
        self.assertEqual(self.device()["availableBytes"], data["availableBytes"])

    def test_a_second_time_it_is_not_there(self):
        for size in (4096, 5 * MIB):
            with self.subTest(size):
                allocation = self.allocate(size)
                self.free(allocation)
                self.refused(self.try_free(allocation), 404, "ALLOCATION_NOT_FOUND")
                self.assertTrue(self.is_gone(allocation))

    def test_an_id_is_never_used_again(self):
        seen = set()
        for _ in range(200):
            allocation = self.allocate(4096)
            self.free(allocation)
            seen.add(name_of(allocation))
        self.assertEqual(200, len(seen))

    def test_a_dedicated_segment_goes_with_it(self):
        allocation = self.allocate(32 * MIB)
        self.free(allocation)
        device = self.device()
        self.assertEqual((0, 0, 0), (device["committedBytes"], device["cachedBytes"], device["segments"]))

    def test_an_empty_slab_is_kept_for_reuse(self):
        self.free(self.allocate(4096))
        device = self.device()
        self.assertEqual((0, 0), (device["committedBytes"], device["allocatedBytes"]))
        self.assertGreater(device["cachedBytes"], 0)

    def test_protected_ones_need_force(self):
        for field in ("pinned", "persistent"):
            with self.subTest(field):
                allocation = self.allocate(4096, **{field: True})
                with self.nothing_changes():
                    answer = self.try_free(allocation)
                    self.assertEqual(409, answer.status, answer.body)
                    self.assertIn(answer.code, ("ALLOCATION_BUSY", "CONFLICT"))
                self.free(allocation, force=True)
                self.assertTrue(self.is_gone(allocation))

    def test_force_is_true_or_false(self):
        allocation = self.allocate(4096)
        answer = self.daemon.delete(f"{MEMORY}/allocations/{name_of(allocation)}?force=perhaps")
        self.refused_field(answer, "INVALID_ARGUMENT", "force")
        self.assertFalse(self.is_gone(allocation))

    def test_of_two_clients_that_free_one_id_one_wins(self):
        for size in (4096, 2 * MIB):
            for _ in range(25):
                allocation, answers, gate = self.allocate(size), [], threading.Barrier(2)

                def client():
                    with self.daemon.session() as session:
                        session.get("/health")
                        gate.wait(30)
                        answers.append(session.delete(f"{MEMORY}/allocations/{name_of(allocation)}"))

                threads = [threading.Thread(target=client) for _ in range(2)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                self.assertEqual([(200, None), (404, "ALLOCATION_NOT_FOUND")],
                                 sorted((a.status, a.code) for a in answers))
        self.assertEqual(0, self.device()["allocatedBytes"])


class Lifetimes(DaemonCase):
    def test_a_lease_ends(self):
        allocation = self.allocate(2 * MIB, ttlSeconds=1)
        wait_until(lambda: self.is_gone(allocation), "the lease to end")
        wait_until(lambda: self.device()["committedBytes"] == 0, "its bytes to come back")

    def test_a_lease_does_not_end_early(self):
        short, long = self.allocate(4096, ttlSeconds=1), self.allocate(4096, ttlSeconds=600)
        wait_until(lambda: self.is_gone(short), "the short lease to end")
        self.assertFalse(self.is_gone(long))

    def test_memory_of_a_process_goes_with_it(self):
        with kernel.sleeping_process() as pid:
            allocation = self.allocate(2 * MIB, ownerPid=pid)
            self.assertEqual(("process", pid), (allocation["owner"]["kind"], allocation["owner"]["pid"]))
            other = self.allocate(4096)
            self.assertFalse(self.is_gone(allocation))
        wait_until(lambda: self.is_gone(allocation), "the dead process's memory to be freed")
        wait_until(lambda: self.device()["committedBytes"] < 4 * MIB, "its bytes to come back")
        self.assertFalse(self.is_gone(other))

    def test_a_process_may_own_many(self):
        with kernel.sleeping_process() as pid:
            for size in (100, 4096, 64 * KIB, 3 * MIB) * 5:
                self.allocate(size, ownerPid=pid)
            self.assertEqual(20, self.device()["activeAllocations"])
        wait_until(lambda: self.device()["activeAllocations"] == 0, "all of them to be freed")

    def test_persistent_memory_outlives_its_process(self):
        with kernel.sleeping_process() as pid:
            kept = self.allocate(4096, ownerPid=pid, persistent=True)
            lost = self.allocate(4096, ownerPid=pid)
        wait_until(lambda: self.is_gone(lost), "the unprotected one to be freed")
        self.assertFalse(self.is_gone(kept))


class AskedTwice(DaemonCase):
    def ask(self, body, key, path=ALLOCATE):
        return self.daemon.post(path, body, {"Idempotency-Key": key})

    def test_the_same_key_answers_with_the_first_result(self):
        first = self.ok(self.ask({"sizeBytes": 4096}, "k-1"))["allocation"]
        second = self.ok(self.ask({"sizeBytes": 4096}, "k-1"))["allocation"]
        self.assertEqual(name_of(first), name_of(second))
        self.assertEqual(1, len(self.allocations()))

    def test_other_keys_are_other_requests(self):
        ids = {name_of(self.ok(self.ask({"sizeBytes": 4096}, f"k-{i}"))["allocation"]) for i in range(5)}
        self.assertEqual(5, len(ids))

    def test_the_same_key_with_other_arguments_is_a_conflict(self):
        self.ok(self.ask({"sizeBytes": 4096}, "k-1"))
        with self.nothing_changes():
            self.refused(self.ask({"sizeBytes": 8192}, "k-1"), 409, "CONFLICT")

    def test_a_key_that_is_none(self):
        for key in ("x" * 65, "a b", "a/b", "ä".encode().decode("latin-1")):
            with self.subTest(key), self.nothing_changes():
                answer = self.ask({"sizeBytes": 4096}, key)
                self.assertEqual((400, "INVALID_ARGUMENT"), (answer.status, answer.code))

    def test_a_refused_request_does_not_use_up_its_key(self):
        self.refused_space(self.ask({"sizeBytes": 1 << 50}, "k-1"), "ALLOCATION_TOO_LARGE")
        self.ok(self.ask({"sizeBytes": 4096}, "k-1"))

    def test_clients_at_once_with_one_key_get_one_allocation(self):
        answers, gate = [], threading.Barrier(8)

        def client():
            with self.daemon.session() as session:
                session.get("/health")
                gate.wait(30)
                answers.append(session.post(ALLOCATE, {"sizeBytes": 2 * MIB}, {"Idempotency-Key": "same"}))

        threads = [threading.Thread(target=client) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(1, len({name_of(self.ok(a)["allocation"]) for a in answers}))
        self.assertEqual(1, len(self.allocations()))

    def test_a_transfer_is_started_once(self):
        allocation = self.allocate(1 * MIB)
        body = {"sourceDeviceId": "host:0", "targetDeviceId": "host:1", "allocationId": name_of(allocation),
                "wait": True}
        first = self.ok(self.ask(body, "t", f"{MEMORY}/transfer"))
        second = self.ok(self.ask(body, "t", f"{MEMORY}/transfer"))
        self.assertEqual(first["transferId"], second["transferId"])
        self.assertEqual(2, len(self.allocations()))


class Waiting(DaemonCase):
    devices = ("host:0=64MiB",)

    def test_it_gets_what_somebody_frees(self):
        held, answers = self.allocate(60 * MIB), []
        with self.daemon.unix() as unix:
            waiter = unix.send("memory.allocate", {"size_bytes": 50 * MIB, "wait_ms": 60000})
            freed = unix.call("memory.free", {"allocation_id": name_of(held)})
            self.assertTrue(freed["success"], freed)
            answers.append(unix.wait(waiter))
            self.assertTrue(answers[0]["success"], answers)
            self.assertEqual(50 * MIB, answers[0]["data"]["allocation"]["size_bytes"])

    def test_over_http_too(self):
        held, answers = self.allocate(60 * MIB), []
        thread = threading.Thread(
            target=lambda: answers.append(self.try_allocate(50 * MIB, "host:0", waitMs=60000)))
        thread.start()
        self.free(held)
        thread.join()
        self.assertEqual(50 * MIB, self.ok(answers[0])["allocation"]["sizeBytes"])

    def test_in_vain_it_is_refused_and_not_before_its_time(self):
        self.allocate(60 * MIB)
        start = time.monotonic()
        self.refused_space(self.try_allocate(50 * MIB, "host:0", waitMs=300), "INSUFFICIENT_MEMORY")
        self.assertGreaterEqual(time.monotonic() - start, 0.3)

    def test_what_can_never_fit_does_not_wait(self):
        self.refused_space(self.try_allocate(65 * MIB, "host:0", waitMs=3600000), "ALLOCATION_TOO_LARGE")

    def test_the_higher_priority_goes_first(self):
        held = self.allocate(60 * MIB)
        with self.daemon.unix() as unix:
            ask = {"size_bytes": 50 * MIB, "wait_ms": 60000}
            low = unix.send("memory.allocate", ask | {"priority": "low"})
            high = unix.send("memory.allocate", ask | {"priority": "high"})
            unix.call("memory.free", {"allocation_id": name_of(held)})
            first = unix.wait(high)
            self.assertTrue(first["success"], first)
            self.assertNotIn(low, unix.answers)
            unix.call("memory.free", {"allocation_id": first["data"]["allocation"]["allocation_id"]})
            self.assertTrue(unix.wait(low)["success"])

    def test_who_cancels_waits_no_longer_and_the_next_one_is_head(self):
        held = self.allocate(60 * MIB)
        with self.daemon.unix() as unix:
            head = unix.send("memory.allocate", {"size_bytes": 50 * MIB, "wait_ms": 3600000, "priority": "high"})
            tail = unix.send("memory.allocate", {"size_bytes": 50 * MIB, "wait_ms": 3600000})
            other = unix.send("memory.allocate", {"size_bytes": 50 * MIB, "wait_ms": 3600000})
            self.assertEqual({"cancelled": True}, unix.call("cancel", {"request_id": other})["data"])
            self.assertEqual("CANCELLED", unix.wait(other)["error_code"])
            self.assertEqual({"cancelled": True}, unix.call("cancel", {"request_id": head})["data"])
            self.assertEqual("CANCELLED", unix.wait(head)["error_code"])
            for name in (head, "r-none"):
                self.assertEqual("NOT_FOUND", unix.call("cancel", {"request_id": name})["error_code"])
            with self.daemon.unix() as stranger:
                self.assertEqual("NOT_FOUND", stranger.call("cancel", {"request_id": tail})["error_code"])
            self.assertEqual("MISSING_PARAMETER", unix.call("cancel", {})["error_code"])
            unix.call("memory.free", {"allocation_id": name_of(held)})
            self.assertTrue(unix.wait(tail)["success"])

    def test_who_hangs_up_over_http_waits_no_longer(self):
        self.allocate(50 * MIB)
        body = {"sizeBytes": 50 * MIB, "waitMs": 3600000, "priority": "high"}
        with self.daemon.raw(request_bytes("POST", f"{ALLOCATE}/host:0", json.dumps(body).encode())):
            wait_until(lambda: self.try_allocate(1 * MIB, "host:0").status == 507, "nobody overtakes it")
        wait_until(lambda: self.try_allocate(1 * MIB, "host:0").status == 200, "its place is free")

    def test_the_earlier_goes_first(self):
        held = self.allocate(60 * MIB)
        with self.daemon.unix() as unix:
            ask = {"size_bytes": 50 * MIB, "wait_ms": 60000}
            waiters = [unix.send("memory.allocate", ask) for _ in range(4)]
            unix.call("memory.free", {"allocation_id": name_of(held)})
            for number, waiter in enumerate(waiters):
                answer = unix.wait(waiter)
                self.assertTrue(answer["success"], answer)
                self.assertFalse(set(waiters) & unix.answers.keys(), f"somebody overtook waiter {number}")
                unix.send("memory.free", {"allocation_id": answer["data"]["allocation"]["allocation_id"]})

    def test_a_small_one_does_not_overtake_a_waiting_large_one(self):
        held = self.allocate(40 * MIB)
        with self.daemon.unix() as unix:
            large = unix.send("memory.allocate", {"size_bytes": 50 * MIB, "wait_ms": 60000})
            small = unix.send("memory.allocate", {"size_bytes": 8 * MIB, "wait_ms": 60000})
            unix.call("memory.free", {"allocation_id": name_of(held)})
            arrived = list(unix.answers)  # in order; both may have come before the answer to the free
            if small in arrived:
                self.assertEqual([large, small], [name for name in arrived if name in (large, small)])
            self.assertTrue(unix.wait(large)["success"])
            if small not in arrived:
                self.assertNotIn(small, unix.answers)
            self.assertTrue(unix.wait(small)["success"])

    def test_who_hangs_up_no_longer_waits(self):
        held = self.allocate(60 * MIB)
        with self.daemon.unix() as gone:
            gone.send("memory.allocate", {"size_bytes": 50 * MIB, "wait_ms": 600000})
        with self.daemon.unix() as unix:
            waiter = unix.send("memory.allocate", {"size_bytes": 40 * MIB, "wait_ms": 60000})
            unix.call("memory.free", {"allocation_id": name_of(held)})
            self.assertTrue(unix.wait(waiter)["success"])
        wait_until(lambda: Counter(a["sizeBytes"] for a in self.allocations()) in (Counter(), Counter([40 * MIB])),
                   "nothing to be left of the one that hung up")

    def test_no_more_than_1024_wait(self):
        self.allocate(60 * MIB)
        body = b'{"sizeBytes":52428800,"waitMs":600000}'
        waiting = [Raw(self.daemon.port).send(request_bytes("POST", f"{ALLOCATE}/host:0", body)) for _ in range(1024)]
        try:
            def one_more():
                answer = self.try_allocate(50 * MIB, "host:0", waitMs=1)
                return answer if answer.status == 429 else None
            answer = wait_until(one_more, "429 at the 1,025th", 60)
            self.refused(answer, 429, "RATE_LIMITED")
            self.assertGreater(int(answer.headers["Retry-After"]), 0)
        finally:
            for connection in waiting:
                connection.close()


if __name__ == "__main__":
    unittest.main()
