package erp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
	"ferry/mapping"
)

// maxBatch is how many requests a batch may have.
const maxBatch = 1000

// Boundaries of what is sent. They are fixed: the bodies are JSON, which has no line
// breaks, and neither have addresses and headers.
const (
	batchBoundary     = "ferry_batch"
	changesetBoundary = "ferry_changeset"
	changesetGroup    = "changeset" // of a batch in JSON
)

func (f *odataForm) takeBatch(cfg *adapters.RouteConfig) error {
	switch {
	case !cfg.Batch:
		return nil
	case cfg.Map == "":
		return bad("batch needs a map").WithHint("it gives an array of {method, url, body}")
	case needsKey(cfg):
		return bad("batch goes with write: create; each request of the batch has a method of its own")
	}
	switch cfg.ContentType {
	case "":
		// SAP Gateway takes batches of V4 as multipart; JSON is newer than V4 itself.
		f.mixed = f.v2 || f.sap
	case "application/json":
		if f.v2 {
			return bad("contentType: batches of OData V2 are multipart/mixed")
		}
	case "multipart/mixed":
		f.mixed = true
	default:
		return bad("contentType: a batch is application/json or multipart/mixed")
	}
	cfg.ContentType = ""
	return nil
}

// batchPart is one request of a batch.
type batchPart struct {
	id, method, url string
	header          map[string]string
	depends         any
	body            any
}

// writeBatch makes one request of all those that the map gives. They are one
// changeset, or one atomicity group: all of them happen, or none.
func (f *odataForm) writeBatch(ctx context.Context, m *message) (*operation, error) {
	parts, err := batchParts(ctx, m, maxBatch)
	if err != nil {
		return nil, err
	}
	address, err := f.withQuery(m, "$batch")
	if err != nil {
		return nil, err
	}
	op := &operation{method: http.MethodPost, url: address, header: f.versions()}
	f.repeatable(op.header, m, "")
	var data []byte
	if f.mixed {
		op.header.Set("Accept", "multipart/mixed")
		op.header.Set("Content-Type", "multipart/mixed; boundary="+batchBoundary)
		data, err = mixedBatch(parts)
	} else {
		op.header.Set("Content-Type", "application/json")
		data, err = jsonBatch(parts, changesetGroup)
	}
	if err != nil {
		return nil, err
	}
	op.body, op.size = ferry.NewBodyReader(data), int64(len(data))
	return op, nil
}

// batchParts reads what the map gives, at most that many requests. The external key
// goes into the first body.
func batchParts(ctx context.Context, m *message, most int) ([]batchPart, error) {
	value, err := m.mapped(ctx)
	if err != nil {
		return nil, err
	}
	items, ok := value.([]any)
	if !ok || len(items) == 0 || len(items) > most {
		return nil, fmt.Errorf("the body, mapped, is no array of 1 to %d requests {method, url, body}", most)
	}
	parts := make([]batchPart, len(items))
	for i, item := range items {
		if parts[i], err = readPart(item, i); err != nil {
			return nil, fmt.Errorf("request %d of the batch: %w", i+1, err)
		}
	}
	if field := m.route.cfg.KeyField; field != "" {
		first, ok := parts[0].body.(map[string]any)
		if !ok {
			return nil, errors.New("request 1 of the batch: its body is no object, and keyField is set in it")
		}
		body := map[string]any{}
		for name, v := range first {
			body[name] = v
		}
		body[field] = m.key()
		parts[0].body = body
	}
	return parts, nil
}

func readPart(item any, i int) (batchPart, error) {
	object, ok := item.(map[string]any)
	if !ok {
		return batchPart{}, errors.New("it is no object")
	}
	p := batchPart{id: strconv.Itoa(i + 1), method: http.MethodPost, header: map[string]string{}, body: object["body"], depends: object["dependsOn"]}
	for name, into := range map[string]*string{"id": &p.id, "method": &p.method, "url": &p.url} {
		switch v := object[name].(type) {
		case nil:
		case string:
			*into = v
		default:
			return p, fmt.Errorf("%s is no text", name)
		}
	}
	if headers, ok := object["headers"].(map[string]any); ok {
		for name, v := range headers {
			text, isText := v.(string)
			if !isText || checkHeaders(map[string]string{name: text}) != nil {
				return p, fmt.Errorf("the header %q cannot be sent", name)
			}
			p.header[textproto.CanonicalMIMEHeaderKey(name)] = text
		}
	}
	p.method = strings.ToUpper(p.method)
	switch {
	case !slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch, methodMerge, http.MethodDelete}, p.method):
		return p, fmt.Errorf("method %q does not write", p.method)
	case p.url == "" || strings.Contains(p.url, "://") || strings.HasPrefix(p.url, "//") || strings.ContainsAny(p.url, "\\# \t\r\n") || !validValue(p.url):
		return p, errors.New("url is to be relative to the service, and escaped")
	case p.id == "" || len(p.id) > 64 || strings.ContainsAny(p.id, " \t\r\n") || !validValue(p.id):
		return p, errors.New("id cannot name a request")
	}
	return p, nil
}

// jsonBatch writes a batch as JSON; group names the atomicity group, "" : none.
func jsonBatch(parts []batchPart, group string) ([]byte, error) {
	requests := make([]any, len(parts))
	for i, p := range parts {
		header := map[string]any{}
		if p.body != nil {
			header["content-type"] = "application/json"
		}
		for name, v := range p.header {
			header[strings.ToLower(name)] = v
		}
		request := map[string]any{"id": p.id, "method": p.method, "url": p.url, "headers": header}
		if group != "" {
			request["atomicityGroup"] = group
		}
		if p.body != nil {
			request["body"] = p.body
		}
		if p.depends != nil {
			request["dependsOn"] = p.depends
		}
		requests[i] = request
	}
	return mapping.Encode(map[string]any{"requests": requests})
}

func mixedBatch(parts []batchPart) ([]byte, error) {
	var b bytes.Buffer
	line := func(parts ...string) { b.WriteString(strings.Join(parts, "") + "\r\n") }
	line("--", batchBoundary)
	line("Content-Type: multipart/mixed; boundary=", changesetBoundary)
	line()
	for _, p := range parts {
		var data []byte
		if p.body != nil {
			var err error
			if data, err = mapping.Encode(p.body); err != nil {
				return nil, err
			}
		}
		line("--", changesetBoundary)
		line("Content-Type: application/http")
		line("Content-Transfer-Encoding: binary")
		line("Content-ID: ", p.id)
		line()
		line(p.method, " ", p.url, " HTTP/1.1")
		line("Accept: application/json")
		if data != nil {
			line("Content-Type: application/json")
			line("Content-Length: ", strconv.Itoa(len(data)))
		}
		for _, name := range sortedKeys(p.header) {
			line(name, ": ", p.header[name])
		}
		line()
		b.Write(data)
		line()
	}
	line("--", changesetBoundary, "--")
	line()
	line("--", batchBoundary, "--")
	return b.Bytes(), nil
}

func (f *odataForm) unpack(ctx context.Context, m *message, a *httpcall.Answer) *httpcall.Answer {
	if !f.batch {
		return a
	}
	return unpackBatch(ctx, m, a)
}

// unpackBatch gives the answer that counts of those in the answer to a batch: the
// first that is no success, since then none of the requests happened, whatever the
// others say; else the first. What is not whole, or short of one, does not tell.
func unpackBatch(ctx context.Context, m *message, a *httpcall.Answer) *httpcall.Answer {
	if a.Status < 200 || a.Status > 299 {
		return a
	}
	value, _ := m.mapped(ctx) // it was made before, for the request
	asked, _ := value.([]any)
	answers, err := readBatch(a)
	for _, part := range answers {
		if part.Status > 299 && part.Status != http.StatusFailedDependency {
			return part
		}
	}
	if err == nil && len(answers) != len(asked) {
		err = fmt.Errorf("it holds %d answers to %d requests", len(answers), len(asked))
	}
	if err != nil {
		return &httpcall.Answer{
			Header: a.Header, Failure: httpcall.FailureProtocol, Effect: ferry.EffectMaybe,
			Err: fmt.Errorf("the answer to the batch (status %d) does not tell what became of it: %w", a.Status, err),
		}
	}
	return answers[0]
}

// readBatch takes the answer to a batch apart. What was read before an error is given.
func readBatch(a *httpcall.Answer) ([]*httpcall.Answer, error) {
	if !a.Whole() {
		return nil, errors.New("it ended early or is too long")
	}
	kind, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return nil, errors.New("it does not say what it is")
	case strings.HasPrefix(kind, "multipart/"):
		return readMixed(a, bytes.NewReader(a.Body), params["boundary"], 0)
	}
	value, err := mapping.Decode(a.Body)
	if err != nil {
		return nil, err
	}
	object, _ := value.(map[string]any)
	items, ok := object["responses"].([]any)
	if !ok {
		return nil, errors.New("it has no responses")
	}
	var answers []*httpcall.Answer
	for _, item := range items[:min(len(items), maxBatch)] {
		response, _ := item.(map[string]any)
		status, err := strconv.Atoi(textOf(response["status"]))
		if err != nil {
			return answers, errors.New("one of its responses has no status")
		}
		part := newPart(a, status)
		if headers, ok := response["headers"].(map[string]any); ok {
			for name, v := range headers {
				part.Header.Set(name, textOf(v))
			}
		}
		part.Header.Set("Content-Id", textOf(response["id"]))
		if body, has := response["body"]; has {
			if part.Body, err = mapping.Encode(body); err != nil {
				return answers, err
			}
		}
		answers = append(answers, part)
	}
	return answers, nil
}

// readMixed reads parts of application/http, and those of changesets within.
func readMixed(a *httpcall.Answer, r io.Reader, boundary string, depth int) ([]*httpcall.Answer, error) {
	if boundary == "" || depth > 1 {
		return nil, errors.New("its parts cannot be told apart")
	}
	var answers []*httpcall.Answer
	reader := multipart.NewReader(r, boundary)
	for len(answers) <= maxBatch {
		part, err := reader.NextRawPart()
		switch {
		case err == io.EOF: // bare: the last boundary; wrapped: there was none
			return answers, nil
		case err != nil:
			return answers, errors.New("it ended early")
		}
		kind, params, _ := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if strings.HasPrefix(kind, "multipart/") {
			inner, err := readMixed(a, part, params["boundary"], depth+1)
			answers = append(answers, inner...)
			if err != nil {
				return answers, err
			}
			continue
		}
		answer, err := readHTTP(a, part)
		if err != nil {
			return answers, err
		}
		answer.Header.Set("Content-Id", part.Header.Get("Content-Id"))
		answers = append(answers, answer)
	}
	return answers, errors.New("it has too many parts")
}

// readHTTP reads an answer that stands in a part. Its length is the part's: what
// Content-Length says has been seen to count characters.
func readHTTP(a *httpcall.Answer, r io.Reader) (*httpcall.Answer, error) {
	in := textproto.NewReader(bufio.NewReader(r))
	line, err := in.ReadLine()
	if err != nil {
		return nil, errors.New("one of its parts is empty")
	}
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	if err != nil || !strings.HasPrefix(version, "HTTP/") {
		return nil, errors.New("one of its parts is no answer")
	}
	part := newPart(a, status)
	header, err := in.ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New("one of its parts has headers that cannot be read")
	}
	for name, v := range header {
		part.Header[name] = v
	}
	if part.Body, err = io.ReadAll(in.R); err != nil {
		return nil, errors.New("one of its parts ended early")
	}
	return part, nil
}

// newPart is an answer within an answer, with the headers of the whole that say
// how to find the call again.
func newPart(whole *httpcall.Answer, status int) *httpcall.Answer {
	h := whole.Header.Clone()
	for _, name := range []string{"Location", "Content-Type", "Content-Length", "Etag"} {
		h.Del(name)
	}
	return &httpcall.Answer{Status: status, Header: h}
}
