package api

import (
	"net/http"

	"ferry"
)

// ledgerFile is the calls about the file of the ledger.
func ledgerFile() []endpoint {
	return []endpoint{
		{
			method: http.MethodGet, path: "/v1/ledger", id: "getLedger", roles: operators, handle: (*call).getLedger,
			summary: "How the ledger's file is used, and how its last compaction ended",
			answers: []reply{{http.StatusOK, "the file", ferry.LedgerFile{}, nil, nil}},
		},
		{
			method: http.MethodPost, path: "/v1/ledger/compact", id: "compactLedger", act: true, roles: operators, handle: (*call).compactLedger,
			summary: "Give back to the disk what the ledger's file has free",
			text:    "The broker does it by itself when much of the file is free. Accepting and delivering go on. Read /v1/ledger for its end.",
			body:    &body{of: NoteRequest{}, optional: true},
			answers: []reply{{http.StatusAccepted, "it has begun, or runs already", ferry.LedgerFile{}, nil, nil}},
		},
	}
}

func (c *call) getLedger() error {
	file, err := c.api.svc.LedgerFile(c.ctx())
	return answer(c, http.StatusOK, file, err)
}

func (c *call) compactLedger() error {
	note, err := c.note(false)
	if err != nil {
		return err
	}
	file, err := c.api.svc.CompactLedger(c.ctx(), note, c.who.Name)
	return answer(c, http.StatusAccepted, file, err)
}
