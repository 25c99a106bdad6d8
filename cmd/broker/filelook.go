package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	// lookEvery is how often the configuration file is looked at. It is read, not
	// watched: that sees any way of replacing it, the links of Kubernetes included.
	lookEvery = 2 * time.Second
	// lookAgain is when a file that was refused is tried again as it is: what was
	// missing elsewhere may be there.
	lookAgain = 30 * time.Second
)

// fileLook finds out whether the configuration file is another one than before, once
// it has been the same for two looks: half a file is not taken for a whole one.
type fileLook struct {
	file    string
	used    [sha256.Size]byte // of the last that was tried
	seen    [sha256.Size]byte // at the last look
	refused bool
	again   time.Time // when what was refused is tried again
	begun   bool
}

func newFileLook(file string) *fileLook { return &fileLook{file: file} }

// changed says whether the file, or one of more that it names, must be read again.
func (l *fileLook) changed(more []string, now time.Time) bool {
	sum := fingerprint(l.file, more)
	steady := sum == l.seen
	l.seen = sum
	if !l.begun {
		l.begun, l.used = true, sum
		return false
	}
	if l.refused && sum == l.used {
		return !now.Before(l.again)
	}
	if !steady || sum == l.used {
		return false
	}
	l.used, l.refused = sum, false
	return true
}

// went notes what came of reading it.
func (l *fileLook) went(err error, now time.Time) {
	l.refused, l.again = err != nil, now.Add(lookAgain)
}

// fingerprint is of the content of file, and of when the others changed. A file that
// cannot be read has one, too.
func fingerprint(file string, more []string) (sum [sha256.Size]byte) {
	const most = 2 << 20
	h := sha256.New()
	if f, err := os.Open(file); err != nil {
		_, _ = fmt.Fprintf(h, "error %v\n", err)
	} else {
		_, err := io.Copy(h, io.LimitReader(f, most))
		_, _ = fmt.Fprintf(h, "\n%v\n", err)
		_ = f.Close()
	}
	for _, name := range more {
		if info, err := os.Stat(name); err == nil {
			_, _ = fmt.Fprintf(h, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
		} else {
			_, _ = fmt.Fprintf(h, "%s %v\n", name, err)
		}
	}
	h.Sum(sum[:0])
	return sum
}
