// Package config reads broker.yaml and worker.yaml into validated structs.
//
// Reading is strict: unknown keys, wrong types, keys given twice, variables that
// are not set and files that are missing are errors with file, line and a hint,
// and all of a file's errors are told at once. What this version does not do
// yet is refused by name instead of being ignored. Nothing of a file with an
// error is used.
//
// In any value ${env:NAME} stands for an environment variable, except in
// secrets, which are references (env:NAME, file:PATH): a literal secret is an
// error that does not repeat it. Relative paths count from the working
// directory. Durations are Go units plus d, or ISO 8601.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"ferry"
)

// Loader reads configuration files. The zero Loader uses the environment of
// this process.
type Loader struct {
	// LookupEnv stands in for os.LookupEnv.
	LookupEnv func(name string) (string, bool)
}

// LoadBroker reads broker.yaml with the environment of this process.
func LoadBroker(path string) (*Broker, error) { return Loader{}.Broker(path) }

// LoadWorker reads worker.yaml with the environment of this process.
func LoadWorker(path string) (*Worker, error) { return Loader{}.Worker(path) }

// Broker reads a broker.yaml. An error is a *ferry.Error of the code
// badConfiguration that wraps [Problems].
func (l Loader) Broker(path string) (*Broker, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	broker, err := l.parseBroker(data, path)
	if err != nil {
		return nil, err
	}
	broker.File = path
	return broker, nil
}

// Worker reads a worker.yaml. An error is a *ferry.Error of the code
// badConfiguration that wraps [Problems].
func (l Loader) Worker(path string) (*Worker, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return l.parseWorker(data, path)
}

func (l Loader) parseBroker(data []byte, path string) (*Broker, error) {
	broker := defaults()
	d := l.decode(data, path, broker)
	if len(d.problems) == 0 {
		broker.complete()
		broker.completeIssuers(d.has)
		broker.check(d)
	}
	if err := d.result(); err != nil {
		return nil, err
	}
	return broker, nil
}

func (l Loader) parseWorker(data []byte, path string) (*Worker, error) {
	worker := &Worker{DataDir: "./worker-data", Drain: WorkerDrain{Within: DefaultWorkerDrain}, Queue: WorkerQueue{Driver: DriverNATS}}
	d := l.decode(data, path, worker)
	// Checks of meaning would blame what a fault of form has left empty.
	if len(d.problems) == 0 {
		worker.complete(d)
		worker.check(d)
	}
	if err := d.result(); err != nil {
		return nil, err
	}
	return worker, nil
}

func (l Loader) decode(data []byte, path string, into any) *decoder {
	d := &decoder{file: path, env: l.LookupEnv, lines: map[string]int{}, blocks: map[string]int{}}
	if d.env == nil {
		d.env = os.LookupEnv
	}
	if root := d.parse(data); root != nil {
		d.value(root, reflect.ValueOf(into).Elem(), "")
	}
	return d
}

func (d *decoder) result() error {
	slices.SortStableFunc(d.problems, func(a, b Problem) int { return a.Line - b.Line })
	return d.problems.edge()
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer func() { _ = f.Close() }() // read only: nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(data) > maxFile {
		return nil, Problems{{File: path, Message: fmt.Sprintf("the file is larger than %d bytes", maxFile)}}.edge()
	}
	return data, nil
}

func unreadable(path string, err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err // the path is named already
	}
	hint := "check that the path is right and that this process may read the file"
	if abs, absErr := filepath.Abs(path); absErr == nil && abs != path {
		hint = "the whole path is " + abs
	}
	return Problems{{File: path, Message: fmt.Sprintf("the configuration cannot be read: %v", err), Hint: hint}}.edge()
}

// Checks that both files share.

func (d *decoder) checkName(path, kind, name string) {
	if err := ferry.ValidName(kind, name); err != nil {
		d.at(path, err.Hint, "%s: %s", path, err.Message)
	}
}

func (d *decoder) checkListen(path, address string) {
	if address == "" {
		return
	}
	host, port, err := net.SplitHostPort(address)
	if n, portErr := net.LookupPort("tcp", port); err != nil || portErr != nil || n < 0 || port == "" {
		d.at(path, "write HOST:PORT, such as 127.0.0.1:8080", "%s: %q is not an address to listen on", path, clip(address))
		return
	}
	_ = host // a name is looked up when the listener is opened
}

// checkURL wants an absolute URL of one of the schemes, without credentials in it.
func (d *decoder) checkURL(path, raw, example string, schemes ...string) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme):
		d.at(path, "write it like "+example, "%s is not a URL that can be used here", path)
	case u.User != nil:
		d.at(path, "take them out of the URL", "%s holds credentials", path)
	}
}

func (d *decoder) checkOneOf(path, value string, known ...string) bool {
	if slices.Contains(known, value) {
		return true
	}
	hint := "known values: " + fmt.Sprint(known)
	if near := nearest(value, known); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	d.at(path, hint, "%s: %q is not known", path, clip(value))
	return false
}

func (d *decoder) checkSpan(path string, value, least, most int64, show func(int64) string) {
	if value < least || value > most {
		d.at(path, "", "%s must lie between %s and %s", path, show(least), show(most))
	}
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
