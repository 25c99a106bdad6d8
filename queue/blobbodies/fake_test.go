package blobbodies_test

import (
	"bytes"
	"crypto/md5" //nolint:gosec // the service names contents by it
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is as much of Blob Storage as the store needs, for where the real
// counterpart of the tests, Azurite, is not installed.
type fake struct {
	mu     sync.Mutex
	exists bool
	blobs  map[string]*fakeBlob
	blocks map[string]map[string][]byte // staged, by blob and block id
	puts   int                          // bodies that became blobs
	deny   bool                         // everything
	broken int                          // so many downloads break off in the midst
}

type fakeBlob struct {
	data     []byte
	metadata http.Header
	at       time.Time
}

func startFake(tb testing.TB) (*fake, string) {
	f := &fake{blobs: map[string]*fakeBlob{}, blocks: map[string]map[string][]byte{}}
	s := httptest.NewServer(f)
	tb.Cleanup(s.Close)
	return f, s.URL + "/account/bodies"
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	q := r.URL.Query()
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/account/bodies"), "/")
	w.Header().Set("x-ms-version", r.Header.Get("x-ms-version"))
	switch {
	case f.deny:
		f.refuse(w, http.StatusForbidden, "AuthorizationFailure")
	case q.Get("restype") == "container" && q.Get("comp") == "list":
		f.list(w)
	case q.Get("restype") == "container" && r.Method == http.MethodPut:
		if f.exists {
			f.refuse(w, http.StatusConflict, "ContainerAlreadyExists")
			return
		}
		f.exists = true
		w.WriteHeader(http.StatusCreated)
	case !f.exists:
		f.refuse(w, http.StatusNotFound, "ContainerNotFound")
	case r.Method == http.MethodPut:
		f.put(w, r, name, body)
	default:
		f.serve(w, r, name)
	}
}

func (f *fake) refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("x-ms-error-code", code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
}

func (f *fake) put(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	data := body
	switch r.URL.Query().Get("comp") {
	case "block":
		if f.blocks[name] == nil {
			f.blocks[name] = map[string][]byte{}
		}
		f.blocks[name][r.URL.Query().Get("blockid")] = body
		w.WriteHeader(http.StatusCreated)
		return
	case "blocklist":
		var list struct{ Latest []string }
		if err := xml.Unmarshal(body, &list); err != nil {
			f.refuse(w, http.StatusBadRequest, "InvalidXmlDocument")
			return
		}
		data = nil
		for _, id := range list.Latest {
			data = append(data, f.blocks[name][id]...)
		}
		delete(f.blocks, name)
	}
	metadata := http.Header{}
	for key, values := range r.Header {
		if strings.HasPrefix(key, "X-Ms-Meta-") {
			metadata[key] = values
		}
	}
	f.blobs[name] = &fakeBlob{data: data, metadata: metadata, at: time.Now()}
	f.puts++
	w.WriteHeader(http.StatusCreated)
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request, name string) {
	b := f.blobs[name]
	switch {
	case b == nil:
		f.refuse(w, http.StatusNotFound, "BlobNotFound")
		return
	case r.Method == http.MethodDelete:
		delete(f.blobs, name)
		w.WriteHeader(http.StatusAccepted)
		return
	}
	maps.Copy(w.Header(), b.metadata)
	sum := md5.Sum(b.data) //nolint:gosec // as above
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
	w.Header().Set("x-ms-blob-type", "BlockBlob")
	w.Header().Set("Content-MD5", base64.StdEncoding.EncodeToString(sum[:]))
	if rng := r.Header.Get("x-ms-range"); rng != "" {
		r.Header.Set("Range", rng)
	}
	if f.broken > 0 && r.Method == http.MethodGet && len(b.data) > 1 {
		f.broken--
		w.Header().Set("Content-Length", fmt.Sprint(len(b.data)))
		_, _ = w.Write(b.data[:len(b.data)/2])
		panic(http.ErrAbortHandler)
	}
	http.ServeContent(w, r, name, b.at, bytes.NewReader(b.data))
}

func (f *fake) list(w http.ResponseWriter) {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="bodies"><Blobs>`)
	for _, name := range slices.Sorted(maps.Keys(f.blobs)) {
		fmt.Fprintf(&b, "<Blob><Name>%s</Name><Properties><Last-Modified>%s</Last-Modified><BlobType>BlockBlob</BlobType></Properties></Blob>",
			name, f.blobs[name].at.UTC().Format(http.TimeFormat))
	}
	b.WriteString("</Blobs><NextMarker/></EnumerationResults>")
	w.Header().Set("Content-Type", "application/xml")
	_, _ = io.WriteString(w, b.String())
}
