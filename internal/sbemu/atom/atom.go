// Package atom is the administration of the Service Bus double: queues are looked at,
// made, changed and deleted by ATOM documents over HTTP, as the SDKs' admin clients do
// it. Of the service's surface it has queues and the namespace itself.
package atom

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"ferry/internal/sbemu/entity"
)

const (
	maxBody   = 256 << 10
	maxPage   = 100 // entries of a feed when nothing is said, and the most
	queueList = "/$resources/queues"
	infoPath  = "/$namespaceinfo"
)

// Options of New.
type Options struct {
	// Check says whether a request may manage a queue, or the whole namespace when
	// the name is empty: a queue needs a right on itself alone. An error is answered
	// with 401 and its text. Nil: everybody may do everything.
	Check func(r *http.Request, queue string) error
	Name  string // of the namespace, as it is shown; default: the host's first part
	SKU   string // default Standard
}

type handler struct {
	ns *entity.Namespace
	o  Options
}

// New serves the administration of a namespace, at the root of a host.
func New(ns *entity.Namespace, o Options) http.Handler {
	if o.SKU == "" {
		o.SKU = "Standard"
	}
	return &handler{ns: ns, o: o}
}

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimRight(r.URL.Path, "/")
	queue := strings.Trim(path, "/")
	if strings.HasPrefix(path, "/$") {
		queue = ""
	}
	if h.o.Check != nil {
		if err := h.o.Check(r, queue); err != nil {
			refuse(w, http.StatusUnauthorized, err.Error())
			return
		}
	}
	switch {
	case strings.EqualFold(path, queueList) && r.Method == http.MethodGet:
		h.list(w, r)
	case strings.EqualFold(path, infoPath) && r.Method == http.MethodGet:
		h.info(w, r)
	case queue == "":
		refuse(w, http.StatusNotFound, "There is nothing of this name here.")
	case r.Method == http.MethodGet:
		h.get(w, r, queue)
	case r.Method == http.MethodPut:
		h.put(w, r, queue)
	case r.Method == http.MethodDelete:
		if err := h.ns.Delete(queue); err != nil {
			fail(w, err)
			return
		}
		w.WriteHeader(http.StatusOK)
	default:
		refuse(w, http.StatusMethodNotAllowed, "A queue is got, put or deleted.")
	}
}

func (h *handler) get(w http.ResponseWriter, r *http.Request, name string) {
	q, err := h.ns.Queue(name)
	if err != nil {
		// Not 404: the service shows an empty list of what is public there, and
		// clients look for its title.
		reply(w, http.StatusOK, feed{NS: nsAtom, Title: "Publicly Listed Services", ID: self(r), Updated: stamp(time.Now()), Link: link{"self", self(r)}})
		return
	}
	reply(w, http.StatusOK, h.entry(r, q))
}

// put makes a queue, or changes it when the request says that it must be there.
func (h *handler) put(w http.ResponseWriter, r *http.Request, name string) {
	d, err := read(w, r)
	if err != nil {
		fail(w, err)
		return
	}
	if r.Header.Get("If-Match") != "" {
		q, err := h.ns.Queue(name)
		if err == nil {
			err = change(q, d)
		}
		if err != nil {
			fail(w, err)
			return
		}
		reply(w, http.StatusOK, h.entry(r, q))
		return
	}
	c := entity.Config{Name: name}
	if err = d.apply(&c); err == nil {
		var q *entity.Queue
		if q, err = h.ns.Create(c); err == nil {
			reply(w, http.StatusCreated, h.entry(r, q))
			return
		}
	}
	fail(w, err)
}

func change(q *entity.Queue, d *description) error {
	c := q.Config()
	if err := d.apply(&c); err != nil {
		return err
	}
	return q.Update(c)
}

// read takes the description out of an entry.
func read(w http.ResponseWriter, r *http.Request) (*description, error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, fmt.Errorf("%w: a body of more than %d bytes", entity.ErrInvalid, maxBody)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the body ends early", entity.ErrInvalid)
	}
	var e struct {
		XMLName xml.Name     `xml:"entry"`
		Queue   *description `xml:"content>QueueDescription"`
	}
	if err := xml.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("%w: the body is no entry: %w", entity.ErrInvalid, err)
	}
	if e.Queue == nil {
		return nil, fmt.Errorf("%w: the entry describes no queue", entity.ErrInvalid)
	}
	return e.Queue, nil
}

func (h *handler) list(w http.ResponseWriter, r *http.Request) {
	skip, err := number(r, "$skip", 0)
	top, errTop := number(r, "$top", maxPage)
	if err = errors.Join(err, errTop); err != nil {
		fail(w, err)
		return
	}
	all := h.ns.Queues()
	all = all[min(skip, len(all)):]
	all = all[:min(top, maxPage, len(all))]
	f := feed{NS: nsAtom, Title: "Queues", ID: self(r), Updated: stamp(time.Now()), Link: link{"self", self(r)}}
	for _, q := range all {
		e := h.entry(r, q)
		e.NS = ""
		f.Entries = append(f.Entries, e)
	}
	reply(w, http.StatusOK, f)
}

func number(r *http.Request, name string, otherwise int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: %s is %.20q", entity.ErrInvalid, name, text)
	}
	return n, nil
}

func (h *handler) info(w http.ResponseWriter, r *http.Request) {
	at := stamp(h.ns.CreatedAt())
	n := &namespaceInfo{NS: nsQueue, Created: at, SKU: h.o.SKU, Modified: at, Name: h.name(r), Type: "Messaging"}
	if h.o.SKU == "Premium" {
		n.Units = new(1)
	}
	reply(w, http.StatusOK, entry{
		NS: nsAtom, ID: self(r), Title: title{"text", h.name(r)}, Published: at, Updated: at, Author: h.name(r),
		Link: link{"self", self(r)}, Content: content{Type: "application/xml", Info: n},
	})
}

func (h *handler) name(r *http.Request) string {
	if h.o.Name != "" {
		return h.o.Name
	}
	first, _, _ := strings.Cut(r.Host, ".")
	return first
}

func (h *handler) entry(r *http.Request, q *entity.Queue) entry {
	name := q.Config().Name
	href := "https://" + r.Host + "/" + name
	return entry{
		NS: nsAtom, ID: href, Title: title{"text", name}, Published: stamp(q.CreatedAt()), Updated: stamp(q.UpdatedAt()), Author: h.name(r),
		Link: link{"self", href}, Content: content{Type: "application/xml", Queue: describe(q)},
	}
}

func self(r *http.Request) string { return "https://" + r.Host + r.URL.RequestURI() }

// problem is how the service says what is wrong.
type problem struct {
	XMLName xml.Name `xml:"Error"`
	Code    int
	Detail  string
}

// fail answers an error of the queues.
func fail(w http.ResponseWriter, err error) {
	status := entity.StatusCode(err)
	refuse(w, status, fmt.Sprintf("SubCode=%d00. %s", status, err))
}

func refuse(w http.ResponseWriter, status int, detail string) {
	write(w, status, "application/xml; charset=utf-8", problem{Code: status, Detail: detail})
}

func reply(w http.ResponseWriter, status int, document any) {
	kind := "application/atom+xml;type=entry;charset=utf-8"
	if _, ok := document.(feed); ok {
		kind = "application/atom+xml;type=feed;charset=utf-8"
	}
	write(w, status, kind, document)
}

func write(w http.ResponseWriter, status int, kind string, document any) {
	data, err := xml.Marshal(document)
	if err != nil {
		http.Error(w, "the answer cannot be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write(data) // the client is gone: nobody to tell
}
