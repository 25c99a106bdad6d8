package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"ferry"
)

// input is a body from a file or from standard input. What goes beyond head is
// read while it is sent.
type input struct {
	io.Reader        // all of it
	head      []byte // its beginning
	whole     bool   // head is all of it
	size      int64  // bytes; negative: not known before its end
	file      *os.File
}

// inputHead is how much of a body is in memory: as much as the ledger itself holds.
const inputHead = ferry.InlineBody

// openInput opens a file, or standard input for "-" and for "" in a pipe; a file
// has at most ferry.MaxBody bytes.
func (a *app) openInput(file string) (*input, error) {
	in := &input{size: -1}
	from := a.stdin
	switch {
	case file == "" && !a.pipes:
		return nil, usagef("there is no body").withHint("name a file with -f FILE, or send the body to standard input")
	case file != "" && file != "-":
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		in.file, from = f, f
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			in.size = info.Size()
		}
	}
	head, err := io.ReadAll(io.LimitReader(from, inputHead+1))
	if err == nil && in.size > ferry.MaxBody {
		err = fmt.Errorf("it has more than %s: no route takes that", bytesOf(ferry.MaxBody))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the body: %w", err), in.Close())
	}
	in.head, in.whole = head, len(head) <= inputHead
	in.Reader = io.MultiReader(bytes.NewReader(head), from)
	return in, nil
}

// Close closes the file.
func (in *input) Close() error {
	if in.file == nil {
		return nil
	}
	return in.file.Close()
}

// readInput reads what openInput opens into memory; at most ferry.MaxBody bytes.
func (a *app) readInput(file string) ([]byte, error) {
	in, err := a.openInput(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }() // it was read only
	body, err := io.ReadAll(io.LimitReader(in, ferry.MaxBody+1))
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	if len(body) > ferry.MaxBody {
		return nil, fmt.Errorf("the body has more than %s: no route takes that", bytesOf(ferry.MaxBody))
	}
	return body, nil
}

// contentType tells a body's type from the file's name, else from its beginning;
// whole says whether that is all of it.
func contentType(file string, head []byte, whole bool) string {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".json":
		return "application/json"
	case ".xml":
		return "application/xml"
	case ".csv":
		return "text/csv"
	case ".txt", ".edi", ".edifact":
		return "text/plain"
	}
	switch {
	case whole && json.Valid(head), !whole && beginsJSON(head):
		return "application/json"
	case strings.HasPrefix(strings.TrimSpace(string(head[:min(len(head), 64)])), "<"):
		return "application/xml"
	default:
		return "application/octet-stream"
	}
}

// beginsJSON says whether JSON may go on after the head.
func beginsJSON(head []byte) bool {
	d := json.NewDecoder(bytes.NewReader(head))
	for {
		if _, err := d.Token(); err != nil {
			return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		}
	}
}
