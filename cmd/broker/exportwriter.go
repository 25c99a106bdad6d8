package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"ferry"
)

// exportWriter is a form of an export.
type exportWriter interface {
	begin() error
	write(x *exported) error
}

func newExportWriter(w *bufio.Writer, format string, bodies bool) exportWriter {
	if format == "csv" {
		return csvExport{w, bodies}
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return jsonExport{encoder}
}

type jsonExport struct{ to *json.Encoder }

func (jsonExport) begin() error { return nil }

func (j jsonExport) write(x *exported) error { return j.to.Encode(x) }

// csvExport is a table by RFC 4180. A cell that a spreadsheet would take for a formula
// has a quote in front.
type csvExport struct {
	to     *bufio.Writer
	bodies bool
}

// row writes one row. Its end is CRLF; with UseCRLF the package csv would change the
// ends of lines within bodies as well, and lose a CR that stands alone.
func (c csvExport) row(cells []string) error {
	var row bytes.Buffer
	table := csv.NewWriter(&row)
	if err := table.Write(cells); err != nil {
		return err
	}
	table.Flush()
	row.Truncate(row.Len() - len("\n"))
	row.WriteString("\r\n")
	_, err := row.WriteTo(c.to)
	return err
}

func (c csvExport) begin() error {
	titles := []string{
		"id", "route", "reason", "code", "error", "deadLetteredAt", "group", "attempts", "lastStatus", "createdAt", "idempotencyKey",
		"correlationId", "orderingKey", "sender", "flow", "flowRun", "owner", "revision", "generation", "contentType", "size", "reference",
	}
	if c.bodies {
		titles = append(titles, "body", "bodyBase64", "bodyError")
	}
	return c.row(titles)
}

func (c csvExport) write(x *exported) error {
	dead, flow, owner, status := x.DeadLetter, x.Sender.Flow, x.Owner, ""
	if dead == nil {
		dead = &ferry.DeadLetter{}
	}
	if flow == nil {
		flow = &ferry.Flow{}
	}
	if owner == nil {
		owner = &ferry.Owner{}
	}
	if n := len(x.Attempts); n > 0 && x.Attempts[n-1].Status != 0 {
		status = strconv.Itoa(x.Attempts[n-1].Status)
	}
	cells := []string{
		x.ID.String(), x.Route, string(dead.Reason), dead.Code, dead.Description, csvTime(dead.At), dead.Group, strconv.Itoa(x.AttemptsTotal), status,
		csvTime(x.CreatedAt), x.IdempotencyKey, x.CorrelationID, x.OrderingKey, x.Sender.Name, flow.Name, flow.RunID, owner.Name,
		strconv.Itoa(x.Revision), strconv.Itoa(x.Generation), x.ContentType, strconv.FormatInt(x.Size, 10), dead.Reference,
	}
	if c.bodies {
		text, binary := string(x.plain), ""
		if !utf8.Valid(x.plain) {
			text, binary = "", base64.StdEncoding.EncodeToString(x.plain)
		}
		cells = append(cells, text, binary, x.BodyError)
	}
	for i := range cells {
		cells[i] = cellText(cells[i])
	}
	if err := c.row(cells); err != nil {
		return err
	}
	return c.to.Flush() // what comes next waits for the broker
}

func csvTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}
