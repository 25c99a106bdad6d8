package practice

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// repeater is a mode that takes a second create of a key in a way of its own while
// nothing is unique. It is called with the ERP locked; a status of 0 has another
// document written.
type repeater interface {
	again(first *Document, d Document) (status int)
}

// repeatLocked is what a second create of a key comes to; 0: it is written.
func (e *ERP) repeatLocked(first *Document, d Document) (status int) {
	switch e.settings.OnDuplicate {
	case Conflict:
		return http.StatusConflict
	case BareError:
		return http.StatusInternalServerError
	case Repeat:
		return http.StatusOK
	}
	if m, ok := e.mode.(repeater); ok {
		return m.again(first, d)
	}
	return 0
}

// change changes the document of that number; false: there is none.
func (e *ERP) change(number string, f func(d *Document)) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.documents {
		if e.documents[i].ID == number {
			f(&e.documents[i])
			return true
		}
	}
	return false
}

// answer is a call of any kind but a create: faults come first.
func (e *ERP) answer(w http.ResponseWriter, r *http.Request, op Op, key string, usual func()) {
	if fault, ok := e.meet(op, key); ok {
		e.fail(w, r, fault, Document{}, usual)
		return
	}
	usual()
}

// over writes d over the document that is there.
func (d Document) over(first *Document) {
	first.Body, first.Text, first.ContentType, first.MessageID = d.Body, d.Text, d.ContentType, d.MessageID
	first.version++
}

// etag is the document's version as OData services tell it.
func (d Document) etag() string { return fmt.Sprintf(`W/"%d"`, d.version+1) }

// guid is a document's id, where a system tells its documents by GUIDs.
func (d Document) guid() string {
	digits := strings.TrimPrefix(d.ID, "INV-")
	return "00000000-0000-4000-8000-" + strings.Repeat("0", max(0, 12-len(digits))) + digits
}

// numberOf is the number of the document of a guid.
func numberOf(guid string) string { return "INV-" + guid[max(0, len(guid)-6):] }

// equals finds the texts that an OData filter compares fields with.
var equals = regexp.MustCompile(`([A-Za-z_][\w/]*) eq '((?:[^']|'')*)'`)

// filterOf reads an OData filter that compares fields with texts: field -> text.
func filterOf(filter string) map[string]string {
	fields := map[string]string{}
	for _, m := range equals.FindAllStringSubmatch(filter, -1) {
		fields[m[1]] = strings.ReplaceAll(m[2], "''", "'")
	}
	return fields
}

// details joins what an invoice lacks, for systems that name no fields.
func (f failure) details() string {
	texts := make([]string, 0, len(f.fields)+1)
	for _, field := range f.fields {
		texts = append(texts, field.Detail)
	}
	if len(texts) == 0 {
		texts = append(texts, f.text)
	}
	return strings.Join(texts, "; ")
}
