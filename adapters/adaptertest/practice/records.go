package practice

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// records are the documents of an ERP whose models are called by name: invoices
// with a number as their id, a state, and methods. It is what Tryton and Odoo have
// in common; say is how one of them gives a result.
type records struct {
	e    *ERP
	key  []string // the fields that bear the sender's key
	say  func(w http.ResponseWriter, result any)
	acts map[string]string // method -> the state after it
	dead func(w http.ResponseWriter, field string)
}

// rowOf is a document's id as a number.
func rowOf(d Document) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(d.ID, "INV-")) // it is one of ours
	return n
}

// create takes values as a new draft.
func (s records) create(w http.ResponseWriter, r *http.Request, values json.RawMessage) {
	defer s.e.count(OpCreate)()
	doc := Document{ContentType: "application/json", Status: "draft"}
	members := textMembers(values)
	for _, name := range s.key {
		if doc.ExternalID == "" {
			doc.ExternalID = members[name]
		}
	}
	s.e.take(w, r, doc, values)
}

// search answers with the fields of the documents that the domain is true of.
func (s records) search(w http.ResponseWriter, r *http.Request, domain, fields json.RawMessage) {
	defer s.e.count(OpLookup)()
	var conditions []any
	var names []string
	if json.Unmarshal(domain, &conditions) != nil || json.Unmarshal(fields, &names) != nil {
		s.e.mode.refuse(w, failure{status: http.StatusInternalServerError, code: "crash", text: "'domain'"})
		return
	}
	wanted := map[string]string{}
	equalsIn(conditions, wanted)
	key := ""
	for _, name := range s.key {
		if wanted[name] != "" {
			key = wanted[name]
		}
	}
	s.e.ask(w, r, key, func() {
		rows := []any{}
		for _, d := range s.e.Documents(key) {
			row := s.row(d)
			matches := true
			for name, text := range wanted {
				matches = matches && (row[name] == nil || fmt.Sprint(row[name]) == text)
			}
			if !matches || len(rows) == 2 {
				continue
			}
			shown := map[string]any{"id": rowOf(d)}
			for _, name := range names {
				value, known := row[name]
				if !known && !slices.Contains([]string{"lines", "invoice_line_ids"}, name) {
					s.dead(w, name)
					return
				}
				shown[name] = value
			}
			rows = append(rows, shown)
		}
		s.say(w, rows)
	})
}

// equalsIn collects the conditions field = value of a domain, whatever joins them.
func equalsIn(items []any, into map[string]string) {
	if len(items) == 3 && items[1] == "=" {
		if name, ok := items[0].(string); ok {
			into[name] = fmt.Sprint(items[2])
		}
		return
	}
	for _, item := range items {
		if list, ok := item.([]any); ok {
			equalsIn(list, into)
		}
	}
}

// row is a document as its model has it.
func (s records) row(d Document) map[string]any {
	row := map[string]any{}
	dec := json.NewDecoder(bytes.NewReader(d.Body))
	dec.UseNumber()
	_ = dec.Decode(&row) // it was JSON
	row["id"], row["number"], row["name"], row["state"] = rowOf(d), d.ID, d.ID, d.Status
	row["rec_name"], row["_timestamp"] = d.ID, strconv.Itoa(d.version+1)
	return row
}

// write writes values over the records of ids. stamp is the version that the
// caller read; "" for any.
func (s records) write(w http.ResponseWriter, ids []int, values json.RawMessage, stamp string) (stale bool) {
	for _, id := range ids {
		stale, posted := false, false
		s.e.change(fmt.Sprintf("INV-%06d", id), func(d *Document) {
			stale, posted = stamp != "" && stamp != strconv.Itoa(d.version+1), d.Status == "posted"
			if !stale && !posted {
				Document{Body: mergeMembers(d.Body, values), MessageID: d.MessageID, ContentType: d.ContentType}.over(d)
			}
		})
		if stale {
			return true
		}
		if posted {
			s.e.mode.refuse(w, failure{status: http.StatusUnprocessableEntity, text: fmt.Sprintf(`You cannot modify invoice "INV-%06d" because it is posted, paid or cancelled.`, id)})
			return false
		}
	}
	s.say(w, true)
	return false
}

// act calls a method on records; false: the model has none of that name.
func (s records) act(w http.ResponseWriter, r *http.Request, ids []int, method string) bool {
	state, known := s.acts[method]
	if !known {
		return false
	}
	defer s.e.count(OpFinish)()
	s.e.answer(w, r, OpFinish, "", func() {
		for _, id := range ids {
			s.e.change(fmt.Sprintf("INV-%06d", id), func(d *Document) {
				d.Status = state
				d.version++
			})
		}
		s.say(w, nil)
	})
	return true
}

// html is how the server that carries the ERP, or one before it, says an error.
func html(w http.ResponseWriter, status int, text string) {
	title := strconv.Itoa(status) + " " + http.StatusText(status)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<!doctype html>\n<html lang=en>\n<title>%s</title>\n<h1>%s</h1>\n<p>%s</p>\n", title, http.StatusText(status), text)
}
