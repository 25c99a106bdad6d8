package practice

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// serveDocument reads one document by its key, or writes over it: with If-Match
// only, and only while it is what was read.
func (e *ERP) serveDocument(w http.ResponseWriter, r *http.Request, v2 bool, number string, shape odataShape) {
	switch r.Method {
	case http.MethodGet:
		defer e.count(OpLookup)()
		e.ask(odataWriter{w, r}, r, number, func() {
			found, ok := e.numbered(number)
			if !ok {
				odataRefuseAs(odataWriter{w, r}, shape, failure{status: http.StatusNotFound, code: "404", text: "Not Found"})
				return
			}
			w.Header().Set("ETag", found.etag())
			odataReply(w, v2, http.StatusOK, odataBody(shape.show(found, v2), v2))
		})
	case http.MethodPatch, http.MethodPut, "MERGE":
		body, ok := e.read(odataWriter{w, r}, r)
		if !ok {
			return
		}
		e.writeOver(odataWriter{w, r}, r, v2, number, shape, func(d *Document) { d.Body = mergeMembers(d.Body, body) })
	default:
		odataRefuseAs(odataWriter{w, r}, shape, failure{status: http.StatusMethodNotAllowed, code: "405", text: "Method Not Allowed"})
	}
}

// serveAct releases a document.
func (e *ERP) serveAct(w http.ResponseWriter, r *http.Request, v2 bool, number string, shape odataShape) {
	defer e.count(OpFinish)()
	_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, MaxBody)) // unread, it would hide that the caller goes
	e.answer(odataWriter{w, r}, r, OpFinish, number, func() {
		e.writeOver(odataWriter{w, r}, r, v2, number, shape, func(d *Document) { d.Status = "released" })
	})
}

func (e *ERP) writeOver(w http.ResponseWriter, r *http.Request, v2 bool, number string, shape odataShape, how func(*Document)) {
	match := r.Header.Get("If-Match")
	if match == "" {
		odataRefuseAs(w, shape, failure{status: http.StatusPreconditionRequired, code: "428", text: "Precondition Required"})
		return
	}
	var after Document
	fits := false
	there := e.change(number, func(d *Document) {
		if fits = match == "*" || match == d.etag(); fits {
			how(d)
			d.version++
		}
		after = *d
	})
	switch {
	case !there:
		odataRefuseAs(w, shape, failure{status: http.StatusNotFound, code: "404", text: "Not Found"})
	case !fits:
		odataRefuseAs(w, shape, failure{status: http.StatusPreconditionFailed, code: "412", text: "Precondition Failed"})
	default:
		w.Header().Set("ETag", after.etag())
		odataReply(w, v2, http.StatusOK, odataBody(shape.show(after, v2), v2))
	}
}

func (e *ERP) numbered(number string) (Document, bool) {
	var found Document
	ok := e.change(number, func(d *Document) { found = *d })
	return found, ok
}

// batchRequest is one request of a batch.
type batchRequest struct {
	id   string
	path string
	body []byte
}

// batchAnswer is what it came to.
type batchAnswer struct {
	id       string
	status   int
	location string
	body     any
}

// serveBatch takes creates that are one changeset: all are written, or none, while
// the answer to the whole is a success. In JSON the parts before the one that
// failed say that they were created.
func (e *ERP) serveBatch(w http.ResponseWriter, r *http.Request, v2 bool, shape odataShape) {
	defer e.count(OpCreate)()
	body, ok := e.read(odataWriter{w, r}, r)
	if !ok {
		return
	}
	kind, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	mixed := strings.HasPrefix(kind, "multipart/")
	requests, err := readJSONBatch(body)
	if mixed {
		requests, err = readMixedBatch(body, params["boundary"])
	}
	if err != nil || len(requests) == 0 {
		odataRefuseAs(odataWriter{w, r}, shape, failure{status: http.StatusBadRequest, code: "400", text: "the batch cannot be read"})
		return
	}
	key := shape.read(requests[0].body, r).ExternalID
	usual := func() {
		answers, failed := e.carryOut(requests, r, v2, shape)
		if mixed {
			writeMixed(w, answers, failed)
		} else {
			writeJSONBatch(w, answers)
		}
	}
	if fault, ok := e.meet(OpCreate, key); ok {
		e.fail(odataWriter{w, r}, r, fault, Document{ExternalID: key, Body: requests[0].body}, usual)
		return
	}
	usual()
}

func (e *ERP) carryOut(requests []batchRequest, r *http.Request, v2 bool, shape odataShape) (answers []batchAnswer, failed bool) {
	docs := make([]Document, len(requests))
	inner := r.Clone(r.Context())
	inner.Header.Set("Accept", "application/json") // as each request within says
	for i, q := range requests {
		docs[i] = shape.read(q.body, r)
		docs[i].MessageID = r.Header.Get("Ferry-Message-Id")
		f := e.check(&docs[i], q.body)
		if f.status == 0 {
			if known, ok := shape.known(q.body); !ok {
				f = known
			}
		}
		if f.status == 0 && e.unique() && docs[i].ExternalID != "" && len(e.Documents(docs[i].ExternalID)) > 0 {
			f = shape.duplicate(Conflict)
		}
		if f.status != 0 {
			recorder := &recorded{header: http.Header{}}
			odataRefuseAs(odataWriter{recorder, inner}, shape, f)
			return append(answers, batchAnswer{id: q.id, status: recorder.status, body: json.RawMessage(recorder.body.Bytes())}), true
		}
		shown := shape.show(docs[i], v2)
		answers = append(answers, batchAnswer{id: q.id, status: http.StatusCreated, location: locationOf(shown, docs[i], v2), body: odataBody(shown, v2)})
	}
	for i, d := range docs {
		written, _ := e.write(d)
		shown := shape.show(written, v2)
		answers[i].location, answers[i].body = locationOf(shown, written, v2), odataBody(shown, v2)
	}
	return answers, false
}

func (e *ERP) unique() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.settings.OnDuplicate != WriteAgain
}

// recorded keeps an answer.
type recorded struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorded) Header() http.Header         { return r.header }
func (r *recorded) WriteHeader(status int)      { r.status = status }
func (r *recorded) Write(b []byte) (int, error) { return r.body.Write(b) }

func readJSONBatch(body []byte) ([]batchRequest, error) {
	var batch struct {
		Requests []struct {
			ID             string          `json:"id"`
			AtomicityGroup string          `json:"atomicityGroup"`
			URL            string          `json:"url"`
			Body           json.RawMessage `json:"body"`
		} `json:"requests"`
	}
	if err := json.Unmarshal(body, &batch); err != nil {
		return nil, err
	}
	var out []batchRequest
	for _, q := range batch.Requests {
		if q.AtomicityGroup != batch.Requests[0].AtomicityGroup || q.AtomicityGroup == "" {
			return nil, fmt.Errorf("the requests are not of one group")
		}
		out = append(out, batchRequest{id: q.ID, path: q.URL, body: q.Body})
	}
	return out, nil
}

func readMixedBatch(body []byte, boundary string) ([]batchRequest, error) {
	outer, err := multipart.NewReader(bytes.NewReader(body), boundary).NextRawPart()
	if err != nil {
		return nil, err
	}
	_, params, err := mime.ParseMediaType(outer.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	var out []batchRequest
	for changeset := multipart.NewReader(outer, params["boundary"]); ; {
		part, err := changeset.NextRawPart()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		in := textproto.NewReader(bufio.NewReader(part))
		line, err := in.ReadLine()
		if err != nil {
			return nil, err
		}
		header, err := in.ReadMIMEHeader()
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(in.R)
		if err != nil || header.Get("Content-Length") != strconv.Itoa(len(data)) {
			return nil, fmt.Errorf("the length of a part is not what it says: %w", err)
		}
		_, path, _ := strings.Cut(line, " ")
		path, _, _ = strings.Cut(path, " ")
		out = append(out, batchRequest{id: part.Header.Get("Content-ID"), path: path, body: data})
	}
}

func writeJSONBatch(w http.ResponseWriter, answers []batchAnswer) {
	responses := make([]any, len(answers))
	for i, a := range answers {
		headers := map[string]any{"content-type": "application/json", "odata-version": "4.0"}
		if a.location != "" {
			headers["location"] = a.location
		}
		responses[i] = map[string]any{"id": a.id, "status": a.status, "atomicityGroup": "changeset", "headers": headers, "body": a.body}
	}
	odataReply(w, false, http.StatusOK, map[string]any{"responses": responses})
}

// writeMixed answers 202. What failed stands alone, in the place of the changeset.
func writeMixed(w http.ResponseWriter, answers []batchAnswer, failed bool) {
	var b bytes.Buffer
	part := func(boundary string, a batchAnswer) {
		data, _ := json.Marshal(a.body) // it is ours
		fmt.Fprintf(&b, "--%s\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\nContent-ID: %s\r\n\r\n", boundary, a.id)
		fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", a.status, http.StatusText(a.status), len(data))
		if a.location != "" {
			fmt.Fprintf(&b, "location: %s\r\n", a.location)
		}
		fmt.Fprintf(&b, "dataserviceversion: 2.0\r\n\r\n%s\r\n", data)
	}
	if failed {
		part("whole", answers[len(answers)-1])
	} else {
		b.WriteString("--whole\r\nContent-Type: multipart/mixed; boundary=set\r\n\r\n")
		for _, a := range answers {
			part("set", a)
		}
		b.WriteString("--set--\r\n\r\n")
	}
	b.WriteString("--whole--\r\n")
	w.Header().Set("Content-Type", "multipart/mixed; boundary=whole")
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write(b.Bytes()) // the caller may have gone: nothing to do about it
}
