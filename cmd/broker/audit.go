package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"ferry"
	"ferry/client"
)

type auditCmd struct {
	List   auditListCmd   `cmd:"" default:"withargs" help:"What was done, oldest first."`
	Export auditExportCmd `cmd:"" help:"The whole audit log, or a part of it, as JSON lines or CSV."`
	Verify auditVerifyCmd `cmd:"" help:"Whether an entry was changed or taken out: each is chained to the one before it."`
}

type auditPart struct {
	After uint64 `placeholder:"N" help:"Only entries after this number."`
	Since string `placeholder:"TIME" help:"Only entries at or after: a time, a day, or how long ago such as 7d."`
}

type auditListCmd struct {
	auditPart
	Limit int `default:"50" help:"At most so many, 1 to 1000."`
}

// Run lists what operators did.
func (c auditListCmd) Run(a *app) error {
	if c.Limit < 1 || c.Limit > ferry.MaxListLimit {
		return usagef("--limit %d is out of range", c.Limit).withHint("1 to %d", ferry.MaxListLimit)
	}
	since, err := a.past("--since", c.Since)
	if err != nil {
		return err
	}
	server, err := a.client()
	if err != nil {
		return err
	}
	entries, err := server.Audit(a.ctx, c.After, since, c.Limit)
	if err != nil {
		return err
	}
	err = writeList(a, entries, "nobody did anything yet",
		[]column{right("NUMBER"), left("WHEN"), left("WHO"), left("ACT"), long("TARGET"), long("DETAIL"), long("NOTE")},
		func(e ferry.AuditEntry) []any {
			return []any{strconv.FormatUint(e.Seq, 10), moment(e.At), e.By, e.Act, e.Target, e.Detail, e.Note}
		})
	if err == nil && len(entries) == c.Limit && !a.json() {
		a.remark("there may be more: --after %d, or broker audit export", entries[len(entries)-1].Seq)
	}
	return err
}

type auditExportCmd struct {
	auditPart
	Format string `enum:"jsonl,csv" default:"jsonl" help:"jsonl or csv."`
	Out    string `placeholder:"FILE" help:"Write it here instead of printing it; the file must not exist."`
}

// Run writes the entries, page after page.
func (c auditExportCmd) Run(a *app) (err error) {
	since, err := a.past("--since", c.Since)
	if err != nil {
		return err
	}
	server, err := a.client()
	if err != nil {
		return err
	}
	var to io.Writer = a.stdout
	if c.Out != "" {
		f, err := os.OpenFile(c.Out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("the file for the export: %w", err)
		}
		defer func() { _ = f.Close() }()
		to = f
	}
	buffer := bufio.NewWriter(to)
	write := jsonLines(buffer)
	if c.Format == "csv" {
		write = csvLines(buffer)
	}
	written := 0
	for e, err := range server.AllAudit(a.ctx, c.After, since) {
		if err != nil {
			return fmt.Errorf("after %s: %w", count(written, "line"), err)
		}
		if err := write(e); err != nil {
			return err
		}
		written++
	}
	if err := buffer.Flush(); err != nil {
		return err
	}
	if f, ok := to.(*os.File); ok {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("%s: %w", c.Out, err)
		}
	}
	a.remark("%s exported", countOf(written, "entry", "entries"))
	return nil
}

func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func jsonLines(w io.Writer) func(ferry.AuditEntry) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return func(e ferry.AuditEntry) error { return encoder.Encode(e) }
}

// csvLines writes rows for a table program: a text that it would take for a formula
// has a quote before it.
func csvLines(w io.Writer) func(ferry.AuditEntry) error {
	rows, first := csv.NewWriter(w), true
	return func(e ferry.AuditEntry) error {
		if first {
			_ = rows.Write([]string{"seq", "at", "by", "act", "target", "detail", "note", "keyId", "requestId", "hash"})
			first = false
		}
		row := []string{strconv.FormatUint(e.Seq, 10), e.At.UTC().Format("2006-01-02T15:04:05.000Z07:00"), e.By, e.Act, e.Target, e.Detail, e.Note, e.KeyID, e.RequestID, e.Hash}
		for i, text := range row {
			if strings.IndexAny(text, "=+-@\t\r") == 0 {
				row[i] = "'" + text
			}
		}
		_ = rows.Write(row)
		rows.Flush()
		return rows.Error()
	}
}

type auditVerifyCmd struct {
	File string `arg:"" optional:"" help:"An export in JSON lines, which is then held against the broker's log too; without it the broker's log alone."`
}

// Run holds the entries against each other, and those of a file against the broker's.
func (c auditVerifyCmd) Run(a *app) error {
	server, err := a.client()
	if err != nil {
		return err
	}
	var kept []ferry.AuditEntry
	if c.File != "" {
		if kept, err = readAudit(c.File); err != nil {
			return err
		}
	}
	return a.verifyAudit(server, c.File, kept)
}

func (a *app) verifyAudit(server *client.Client, file string, kept []ferry.AuditEntry) error {
	var ofFile, ofBroker ferry.AuditChain
	after := uint64(0)
	for i, e := range kept {
		if err := ofFile.Check(e); err != nil {
			return fmt.Errorf("%s is not whole: %w", file, err)
		}
		if i == 0 {
			after = e.Seq - 1
		}
	}
	seen, last, first := 0, "", uint64(0)
	for e, err := range server.AllAudit(a.ctx, after, time.Time{}) {
		if err != nil {
			return err
		}
		if first == 0 {
			// What was before was moved into files: the first that is left is chained to it.
			if first = e.Seq; len(kept) > 0 && e.Seq > after+1 {
				seen = int(min(e.Seq-after-1, uint64(len(kept))))
				if before := kept[seen-1].Seq; e.Seq != before+1 {
					return fmt.Errorf("the broker's audit log begins with entry %d, and %s ends with entry %d: the file with what lies between is missing", e.Seq, file, before)
				}
				ofBroker.Follow(kept[seen-1])
			}
		}
		if err := ofBroker.Check(e); err != nil {
			return fmt.Errorf("the broker's audit log is not whole: %w", err)
		}
		if seen < len(kept) && e != kept[seen] {
			return fmt.Errorf("entry %d of the broker is not the one in %s", e.Seq, file)
		}
		seen++
		last = fmt.Sprintf(", the last one %d with the hash %s", e.Seq, e.Hash)
	}
	if seen < len(kept) {
		return fmt.Errorf("the broker's audit log ends with entry %d, %s has %d", after+uint64(seen), file, kept[len(kept)-1].Seq)
	}
	moved := uint64(0)
	if first > after+1 {
		moved = first - after - 1
	}
	switch {
	case len(kept) > 0 && moved > 0:
		a.printf("the %s of %s are whole; the broker's log begins with entry %d, which follows them\n", countOf(len(kept), "entry", "entries"), file, first)
	case len(kept) > 0:
		a.printf("the %s of %s are whole, and the broker has the same\n", countOf(len(kept), "entry", "entries"), file)
	}
	a.printf("the broker's audit log is whole from entry %d on: %s%s\n", max(first, after+1), countOf(seen-int(min(moved, uint64(len(kept)))), "entry", "entries"), last)
	return nil
}

// maxAuditLine bounds a line of an export, bytes.
const maxAuditLine = 64 << 10

func readAudit(file string) ([]ferry.AuditEntry, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var list []ferry.AuditEntry
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxAuditLine)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var e ferry.AuditEntry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Seq == 0 {
			return nil, usagef("line %d of %s is not an entry of an audit log", len(list)+1, file).withHint("broker audit export writes JSON lines")
		}
		list = append(list, e)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(list) == 0 {
		return nil, usagef("%s has no entries", file)
	}
	return list, nil
}
