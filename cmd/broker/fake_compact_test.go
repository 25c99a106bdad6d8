package main

import (
	"net/http"
	"time"

	"ferry"
)

// compactRoutes is a ledger whose compaction ends at the second look; note it with
// "full" and the disk has no room.
func (f *fake) compactRoutes(mux *http.ServeMux) {
	file := ferry.LedgerFile{Size: 3 << 30, Free: 2 << 30}
	mux.HandleFunc("GET /v1/ledger", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, file)
		if file.Compacting {
			file.Compacting = false
			file.Size, file.Free = file.Last.After, 0
		}
	})
	mux.HandleFunc("POST /v1/ledger/compact", func(w http.ResponseWriter, r *http.Request) {
		file.Compacting = true
		last := ferry.Compaction{StartedAt: at(-90 * time.Second), EndedAt: at(0), By: "admin", Outcome: ferry.Compacted, Before: 3 << 30, After: 1 << 30, HeldMs: 7.25}
		if len(f.replayed) > 0 && f.replayed[len(f.replayed)-1] == `POST /v1/ledger/compact {"note":"full"}` {
			last.Outcome, last.After, last.Error, last.Hint = ferry.CompactionNoRoom, file.Size, "no room", "make room"
			last.EndedAt = at(time.Second)
		}
		file.Last = &last
		w.WriteHeader(http.StatusAccepted)
		answer(w, file)
	})
}
