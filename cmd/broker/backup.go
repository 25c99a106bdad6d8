package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"ferry"
	"ferry/internal/disk"
	"ferry/store"
)

type backupCmd struct {
	File  string `arg:"" placeholder:"FILE" help:"Where to write it. It holds messages and the broker's keys: keep it secret."`
	Force bool   `help:"Write over FILE."`
}

// Run fetches a backup of the running broker. FILE is there only once all of it
// came, was held against its checksums, and is on disk.
func (c backupCmd) Run(a *app) error {
	if err := c.free(); err != nil {
		return err
	}
	server, err := a.client()
	if err != nil {
		return err
	}
	// A name of its own: another command may be writing to the same file.
	f, err := os.CreateTemp(filepath.Dir(c.File), filepath.Base(c.File)+".*.part")
	if err != nil {
		return fmt.Errorf("the file for the backup: %w", err)
	}
	part := f.Name()
	about, n, err := a.fetchBackup(server.Backup, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = c.free()
	}
	if err == nil {
		err = os.Rename(part, c.File)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	if err := disk.SyncDir(filepath.Dir(c.File)); err != nil {
		return fmt.Errorf("the backup is written, and may not survive a power cut: %w", err)
	}
	if a.json() {
		return a.writeJSON(about)
	}
	a.printf("%s: %s, the broker as it was at %s\n", c.File, mebibytes(n), moment(about.At))
	for _, r := range about.Routes {
		a.printf("  %s: up to accept number %d, %d pending, %d dead letters\n", printable(r.Name), r.Accepted, r.Pending, r.DeadLetters)
	}
	if about.Missing > 0 {
		a.remark("warning: %s of the ledger were not there to be backed up: broker reconcile names them", count(int(about.Missing), "body file"))
	}
	return nil
}

// free refuses to write over a file without being asked to.
func (c backupCmd) free() error {
	if _, err := os.Lstat(c.File); err == nil && !c.Force {
		return usagef("%s exists", c.File).withHint("name another file, or give --force to write over it")
	}
	return nil
}

// fetchBackup writes the backup to f as it comes, and checks it on the way.
func (a *app) fetchBackup(begin func(ctx context.Context) (io.ReadCloser, error), f io.Writer) (about ferry.Backup, n int64, err error) {
	body, err := begin(a.ctx)
	if err != nil {
		return about, 0, err
	}
	defer func() { _ = body.Close() }()
	from := &counted{from: body, tell: a.progress()}
	all := io.TeeReader(from, f)
	if about, err = store.ReadBackup(a.ctx, all); err == nil {
		_, err = io.Copy(io.Discard, all) // what comes behind the checksums fills the tar
	}
	from.tell(from.n, true)
	return about, from.n, err
}

// counted counts what is read.
type counted struct {
	from io.Reader
	n    int64
	tell func(n int64, end bool)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	c.tell(c.n, false)
	return n, err
}

// progress writes how far it is, on a terminal, twice a second.
func (a *app) progress() func(n int64, end bool) {
	if !a.screen.terminal {
		return func(int64, bool) {}
	}
	told := time.Time{}
	return func(n int64, end bool) {
		switch {
		case end && !told.IsZero():
			fmt.Fprintf(a.stderr, "\r\x1b[K")
		case !end && time.Since(told) >= 500*time.Millisecond:
			told = time.Now()
			fmt.Fprintf(a.stderr, "\r\x1b[K%s", mebibytes(n))
		}
	}
}

func mebibytes(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
