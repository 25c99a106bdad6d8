package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"strings"
	"testing"

	"ferry"
)

// A table has each body byte by byte, whatever ends its lines, and its own rows end
// as RFC 4180 says.
func TestATableKeepsBodiesAsTheyAre(t *testing.T) {
	for _, body := range []string{
		"MSH|^~\\&|LAB\rPID|1||4711\rOBX|1|NM\r", // HL7: segments end with a bare CR
		"one\ntwo\n",
		"one\r\ntwo\r\n",
		"a \"quoted\", word\r\r\n\n",
	} {
		var b bytes.Buffer
		w := newExportWriter(bufio.NewWriter(&b), "csv", true)
		line := &exported{Envelope: ferry.Envelope{ID: mustID(idRejected)}, plain: []byte(body)}
		if err := errors.Join(w.begin(), w.write(line)); err != nil {
			t.Fatal(err)
		}
		cell := `"` + strings.ReplaceAll(body, `"`, `""`) + `"`
		text := b.String()
		if !strings.Contains(text, ","+cell+",") {
			t.Errorf("%q is not there as it is: %q", body, text)
		}
		if head, rest, ok := strings.Cut(text, ",bodyBase64,bodyError\r\n"); !ok || strings.Contains(head, "\n") || !strings.HasSuffix(rest, cell+",,\r\n") {
			t.Errorf("rows end otherwise: %q", text)
		}
		if rows, err := csv.NewReader(&b).ReadAll(); err != nil || len(rows) != 2 {
			t.Errorf("%d rows, %v", len(rows), err)
		}
	}
}
