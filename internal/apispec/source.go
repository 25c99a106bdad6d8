package apispec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
)

// Bounds of a description.
const (
	MaxBytes = 10 << 20         // of all files that belong to it
	MaxTime  = 30 * time.Second // to fetch and read it
	maxFiles = 100
)

// source is where a description comes from: a folder, an address, or memory.
type source struct {
	name  string   // of the document in its folder
	root  *os.Root // nil: there is no folder to read more from
	bytes int64    // read so far
	files int
}

func (s *source) close() {
	if s.root != nil {
		_ = s.root.Close() // it was read only
	}
}

// open reads the document itself.
func open(ctx context.Context, from string) (*source, []byte, error) {
	if address, is := httpAddress(from); is {
		s := &source{name: "description"}
		data, err := s.fetch(ctx, address)
		return s, data, err
	}
	root, err := os.OpenRoot(filepath.Dir(from))
	if err != nil {
		return nil, nil, bad("its folder cannot be opened: %w", reason(err))
	}
	s := &source{name: filepath.Base(from), root: root}
	data, err := s.file(s.name)
	if err != nil {
		s.close()
		return nil, nil, err
	}
	return s, data, nil
}

func httpAddress(from string) (*url.URL, bool) {
	lower := strings.ToLower(from)
	if !strings.HasPrefix(lower, "http://") && !strings.HasPrefix(lower, "https://") {
		return nil, false
	}
	u, err := url.Parse(from)
	if err != nil {
		return &url.URL{}, true // fetch refuses it
	}
	return u, true
}

// file reads one file of the folder; links that lead out of it are not followed.
func (s *source) file(name string) ([]byte, error) {
	f, err := s.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, bad("%s cannot be opened: %w", cut(name, 200), reason(err)).
			WithHint("a description may refer to files of its own folder and below")
	}
	defer func() { _ = f.Close() }() // it was read only
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, bad("%s is no file", cut(name, 200))
	}
	return s.all(f)
}

// all reads to the end, within what is left of the bounds.
func (s *source) all(r io.Reader) ([]byte, error) {
	if s.files++; s.files > maxFiles {
		return nil, bad("it consists of more than %d files", maxFiles)
	}
	data, err := io.ReadAll(io.LimitReader(r, MaxBytes-s.bytes+1))
	if err != nil {
		return nil, bad("it cannot be read to its end: %w", err)
	}
	if s.bytes += int64(len(data)); s.bytes > MaxBytes {
		return nil, bad("it has more than %d MiB", MaxBytes>>20)
	}
	return data, nil
}

func (s *source) fetch(ctx context.Context, address *url.URL) ([]byte, error) {
	switch {
	case address.Host == "":
		return nil, bad("the address cannot be read")
	case address.User != nil:
		return nil, bad("the address holds a user name or a password").WithHint("download the file, and name it instead")
	}
	client := &http.Client{CheckRedirect: func(req *http.Request, via []*http.Request) error {
		switch {
		case req.URL.Host != address.Host:
			return fmt.Errorf("it is redirected to another host, %s", cut(req.URL.Host, 100))
		case len(via) >= 5:
			return errors.New("it is redirected more than five times")
		}
		return nil
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, bad("the address cannot be asked")
	}
	req.Header.Set("Accept", "application/json, application/yaml;q=0.9, */*;q=0.5")
	req.Header.Set("User-Agent", "ferry")
	resp, err := client.Do(req)
	if err != nil {
		var wrapped *url.Error // repeats the address, whose query may hold a key
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, bad("it cannot be fetched: %w", err).WithHint("download the file, and name it instead")
	}
	defer func() { _ = resp.Body.Close() }() // it was read only
	if resp.StatusCode != http.StatusOK {
		return nil, bad("it cannot be fetched: status %d", resp.StatusCode).WithHint("download the file, and name it instead")
	}
	return s.all(resp.Body)
}

// read gives the files that the document refers to. It is what keeps a
// description from reading elsewhere.
func (s *source) read(_ *openapi3.Loader, at *url.URL) ([]byte, error) {
	if at.Scheme != "" || at.Host != "" || strings.HasPrefix(at.Path, "/") || filepath.IsAbs(filepath.FromSlash(at.Path)) {
		return nil, bad("it refers to %s, and references outside its folder are not followed", cut(at.Redacted(), 200)).
			WithHint("bundle the description into one file")
	}
	if s.root == nil {
		return nil, bad("it refers to the file %s, and only a description that lies in a folder may have several files", cut(at.Path, 200)).
			WithHint("download all of its files, or bundle it into one")
	}
	data, err := s.file(at.Path)
	if err != nil {
		return nil, err
	}
	return toJSON(data)
}

// reason is an error of the file system without the path, which stands before it.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
