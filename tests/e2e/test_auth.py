"""Who may do what when no tokens are configured: the kernel says who is at the other end."""

import os
import socket
import unittest

import kernel
from doors import HOST, Http, Raw, Unix, request_bytes
from harness import MEMORY, MIB, NOBODY, SharedDaemonCase, name_of, wait_until

ALLOCATE = f"{MEMORY}/allocations/allocate"


@unittest.skipUnless(os.geteuid() == 0, "acting as another user needs root")
class OverHttp(SharedDaemonCase):
    def as_nobody(self, method, path, body=None):
        def ask():
            answer = Http(self.daemon.port).request(method, path, body)
            return [answer.status, answer.body["error"] if isinstance(answer.body, dict) else None]
        return kernel.as_user(NOBODY, ask)

    def test_the_daemons_own_user_may_do_everything(self):
        self.free(self.allocate(4096))

    def test_another_user_is_not_known(self):
        for method, path, body in (("GET", f"{MEMORY}/status", None), ("GET", f"{MEMORY}/allocations", None),
                                   ("POST", ALLOCATE, {"sizeBytes": 4096}), ("POST", f"{MEMORY}/operations/clear", {}),
                                   ("PUT", f"{MEMORY}/limits/host:0", {"maxBytes": 1})):
            with self.subTest(f"{method} {path}"), self.nothing_changes():
                status, error = self.as_nobody(method, path, body)
                self.assertEqual((401, "UNAUTHORIZED"), (status, error["code"]))

    def test_it_is_told_what_to_do(self):
        _, error = self.as_nobody("GET", f"{MEMORY}/status")
        self.assertRegex(error["message"] + str(error["details"]), "(?i)token|socket")

    def test_health_needs_nobody(self):
        self.assertEqual(200, self.as_nobody("GET", "/health")[0])

    def test_a_connection_belongs_to_who_opened_it(self):
        """A connection that nobody made stays nobody's, whoever writes to it."""
        reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(reader.close)

        def connect():
            connection = socket.create_connection((HOST, self.daemon.port))
            socket.send_fds(writer, [b"x"], [connection.fileno()])
            return True

        kernel.as_user(NOBODY, connect)
        writer.close()
        _, fds, _, _ = socket.recv_fds(reader, 1, 1)
        with Raw(None, connection=socket.socket(fileno=fds[0])) as raw:
            raw.send(request_bytes("GET", f"{MEMORY}/status"))
            self.refused(raw.answer(), 401, "UNAUTHORIZED")


@unittest.skipUnless(os.geteuid() == 0, "acting as another user needs root")
class OverTheSocket(SharedDaemonCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.mode = os.stat(cls.daemon.socket_path).st_mode & 0o777
        cls.folder_mode = os.stat(cls.daemon.runtime).st_mode & 0o777
        cls.daemon.open_to_everybody()

    def as_nobody(self, *requests):
        def ask():
            with Unix(self.daemon.socket_path) as unix:
                return [unix.call(action, data) for action, data in requests]
        return kernel.as_user(NOBODY, ask)

    def test_the_socket_file_is_closed_to_others_by_default(self):
        self.assertEqual((0o600, 0o700), (self.mode, self.folder_mode))

    def test_another_user_may_read(self):
        answer, = self.as_nobody(("memory.get_status", {}))
        self.assertTrue(answer["success"], answer)

    def test_another_user_may_use_memory_of_its_own(self):
        def use():
            with Unix(self.daemon.socket_path) as unix:
                made = unix.call("memory.allocate", {"size_bytes": 4096, "device_id": "host:0"})
                allocation = made["data"]["allocation"]
                freed = unix.call("memory.free", {"allocation_id": allocation["allocation_id"]})
                return [allocation["domain"], freed["success"]]
        before = self.device("host:0")["segments"]
        domain, freed = kernel.as_user(NOBODY, use)
        self.assertIn(str(NOBODY), domain)
        self.assertTrue(freed)
        wait_until(lambda: self.device("host:0")["segments"] <= before, "what was kept for the process to go with it")

    def test_another_users_memory_is_forbidden(self):
        ours = self.allocate(1 * MIB)
        self.addCleanup(self.free, ours)
        name = name_of(ours)
        with self.nothing_changes():
            for action, data in (
                    ("memory.free", {"allocation_id": name}), ("memory.free", {"allocation_id": name, "force": True}),
                    ("memory.fill", {"allocation_id": name, "value": 1}),
                    ("memory.copy", {"source_allocation_id": name, "target_allocation_id": name, "size_bytes": 1,
                                     "target_offset_bytes": 4096}),
                    ("memory.transfer", {"source_device_id": "host:0", "target_device_id": "host:1",
                                         "allocation_id": name, "wait": True})):
                with self.subTest(action):
                    answer, = self.as_nobody((action, data))
                    self.assertEqual((False, "FORBIDDEN"), (answer["success"], answer.get("error_code")), answer)

    def test_what_is_for_admins_is_forbidden(self):
        with self.nothing_changes():
            answer, = self.as_nobody(("memory.set_limits", {"device_id": "host:0", "max_bytes": 4096}))
            self.assertEqual((False, "FORBIDDEN"), (answer["success"], answer.get("error_code")), answer)

    def test_clearing_all_spares_what_belongs_to_others(self):
        ours = self.allocate(4096)
        self.addCleanup(self.free, ours)
        self.as_nobody(("memory.clear", {"scope": "all", "force": True}))
        self.assertFalse(self.is_gone(ours))

    def test_root_may_free_anybodys(self):
        def make():
            with Unix(self.daemon.socket_path) as unix:
                made = unix.call("memory.allocate", {"size_bytes": 4096, "device_id": "host:0", "persistent": True})
                return made["data"]["allocation"]["allocation_id"]
        self.free(kernel.as_user(NOBODY, make), force=True)

    def test_slabs_never_span_domains(self):
        ours = self.allocate(4096)
        self.addCleanup(self.free, ours)

        def make():
            with Unix(self.daemon.socket_path) as unix:
                made = unix.call("memory.allocate", {"size_bytes": 4096, "device_id": "host:0", "persistent": True})
                return made["data"]["allocation"]
        theirs = kernel.as_user(NOBODY, make)
        self.addCleanup(self.free, theirs["allocation_id"], force=True)
        self.assertNotEqual(ours["segmentId"], theirs["segment_id"])

    def test_a_key_of_another_domain_is_another_key(self):
        first = self.ok(self.daemon.post(ALLOCATE, {"sizeBytes": 4096}, {"Idempotency-Key": "shared"}))["allocation"]
        self.addCleanup(self.free, first)

        def make():
            with Unix(self.daemon.socket_path) as unix:
                made = unix.call("memory.allocate", {"size_bytes": 4096}, idempotency_key="shared")
                return made["data"]["allocation"]["allocation_id"]
        self.assertNotEqual(name_of(first), kernel.as_user(NOBODY, make))

    def test_a_full_quota_is_said(self):
        ask = ("memory.allocate", {"size_bytes": 2 * MIB, "device_id": "host:0", "ttl_seconds": 1})
        answer, = self.as_nobody(ask)
        domain = answer["data"]["allocation"]["domain"]
        limits = f"{MEMORY}/limits/host:0"
        self.ok(self.daemon.put(limits, {"quotas": [{"domain": domain, "maxBytes": 1 * MIB}]}))
        self.addCleanup(self.daemon.put, limits, {"quotas": [{"domain": domain, "maxBytes": 1 << 40}]})
        answer, = self.as_nobody(ask)
        self.assertEqual("QUOTA_EXCEEDED", answer.get("error_code"), answer)
        self.free(self.allocate(2 * MIB))


if __name__ == "__main__":
    unittest.main()
