package api

import (
	"errors"
	"io"
	"net/http"
	"time"

	"ferry"
)

// rescue is what proves and saves a ledger.
func rescue() []endpoint {
	return []endpoint{
		{
			method: http.MethodGet, path: "/v1/reconciliation", id: "getReconciliation", roles: operators, handle: (*call).reconcile,
			summary: "Prove that nothing was lost, per route and day",
			text:    "Holds accept numbers, tallies, indexes and bodies against the records, and the inboxes of connected workers against the ledger. It takes seconds per million messages.",
			params: []param{
				{name: "route", in: inQuery, text: "only this route"},
				{name: "since", in: inQuery, text: "only days of acceptance from that one on: RFC 3339 with an offset, or how long ago, such as 7d"},
				{name: "deep", in: inQuery, kind: "boolean", text: "read every body and hold it against its hash"},
			},
			answers: []reply{{200, "the counts, and what does not add up", ferry.Proof{}, nil, nil}},
		},
		{
			method: http.MethodPost, path: "/v1/backup", id: "takeBackup", act: true, handle: (*call).backup,
			summary: "Take a backup of the running broker", text: "A tar. It is whole when it ends with the entry " + ferry.BackupSums + ". It holds messages and the broker's keys: keep it as secret as the data folder.",
			answers: []reply{{200, "the backup", nil, []string{tarType}, nil}},
		},
		{
			method: http.MethodGet, path: "/v1/doctor", id: "getDiagnosis", roles: operators, handle: (*call).doctor,
			summary: "Look at everything that the broker stands on", text: "Disk, clocks, ledger, queue, workers, certificate, secrets, files, and its own address.",
			answers: []reply{{200, "one check after the other", ferry.Diagnosis{}, nil, nil}},
		},
	}
}

const (
	tarType = "application/x-tar"
	// longAnswer bounds how long an answer may take to be made.
	longAnswer = 30 * time.Minute
	// backupPace bounds how long one write of a backup may wait for the caller.
	backupPace = time.Minute
	backupStep = 256 << 10 // bytes of such a write
)

// takesLong lets the answer begin later than others may.
func (c *call) takesLong() {
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(longAnswer)) // else the usual time holds
}

func (c *call) reconcile() error {
	since, err := c.moment("since")
	if err != nil {
		return err
	}
	deep, err := c.flag("deep")
	if err != nil {
		return err
	}
	c.takesLong()
	proof, err := c.api.svc.Prove(c.ctx(), ferry.ProofRequest{Route: c.q("route"), Since: since, Deep: deep})
	return answer(c, http.StatusOK, proof, err)
}

func (c *call) doctor() error {
	d, err := c.api.svc.Doctor(c.ctx())
	return answer(c, http.StatusOK, d, err)
}

// backup streams. What goes wrong after the first byte ends the connection before
// the last entry came, and the caller sees that.
func (c *call) backup() error {
	c.takesLong()
	began := false
	err := c.api.svc.Backup(c.ctx(), c.who.Name, func(about ferry.Backup, write func(io.Writer) error) error {
		began = true
		h := c.w.Header()
		h["Content-Type"] = []string{tarType}
		h["Content-Disposition"] = []string{`attachment; filename="ferry-` + about.At.Format("20060102-150405") + `.tar"`}
		c.status, c.wrote = http.StatusOK, true
		c.w.WriteHeader(http.StatusOK)
		return write(&paced{w: c.w, rc: http.NewResponseController(c.w)})
	})
	if err == nil || !began {
		return err
	}
	c.api.log.Warn("a backup was not sent whole", "requestId", c.id, "error", err)
	panic(http.ErrAbortHandler) // so that the end of the answer is not taken for its end
}

// paced gives the caller so much time for each part, and no more: a backup that
// nobody takes must not hold up retention for ever.
type paced struct {
	w  io.Writer
	rc *http.ResponseController
}

func (p *paced) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		part := b[:min(len(b), backupStep)]
		if err := p.rc.SetWriteDeadline(time.Now().Add(backupPace)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return n, err
		}
		m, err := p.w.Write(part)
		if n += m; err != nil {
			return n, err
		}
		b = b[len(part):]
	}
	return n, nil
}
