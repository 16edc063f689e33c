-- wrk: POST allocate of 4 KiB, to fill the daemon with live allocations.
wrk.method = "POST"
wrk.path = "/api/memory/allocations/allocate/host:0"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"sizeBytes":4096}'
