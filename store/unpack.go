package store

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ferry"
	"ferry/internal/disk"
)

// maxManifest bounds the first entry of a backup, bytes; maxSums its last.
const (
	maxManifest = 16 << 20
	maxSums     = 8 << 30
)

// auditPrefix is where a backup has files of the audit log.
const auditPrefix = "audit/"

// unpacking writes the entries of a backup into a folder.
type unpacking struct {
	dir      string
	manifest ferry.Backup
	sums     map[string]string // by name: SHA-256, in hex
	folders  []string          // that were made
}

// ReadBackup reads a backup whole and holds every entry against its checksum, and
// writes nothing. It is how whoever fetched one knows that it is not cut off.
func ReadBackup(ctx context.Context, r io.Reader) (ferry.Backup, error) {
	u := &unpacking{sums: map[string]string{}}
	err := u.unpack(ctx, r)
	return u.manifest, err
}

func cutOff(err error) error {
	return ferry.Errorf(ferry.CodeBackupUnreadable, "the backup is cut off, or is no backup: %w", err).WithHint("take it anew, or another one")
}

func altered(format string, args ...any) error {
	return ferry.Errorf(ferry.CodeBackupUnreadable, "the backup is damaged: "+format, args...).WithHint("take it anew, or another one")
}

func (u *unpacking) unpack(ctx context.Context, r io.Reader) error {
	in := tar.NewReader(bufio.NewReaderSize(r, 1<<20))
	h, err := in.Next()
	if err != nil {
		return cutOff(err)
	}
	if h.Name != ferry.BackupManifest || h.Size > maxManifest {
		return ferry.Errorf(ferry.CodeBackupUnreadable, "it is no backup: its first entry is %q", h.Name).WithHint("give the file that broker backup wrote")
	}
	if err := u.readManifest(in); err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := in.Next()
		if err != nil {
			return cutOff(err) // the end comes only behind the checksums
		}
		if h.Name == ferry.BackupSums {
			return u.readSums(in)
		}
		if h.Typeflag != tar.TypeReg || !u.expected(h.Name) {
			return altered("an entry %q does not belong there", h.Name)
		}
		if _, twice := u.sums[h.Name]; twice {
			return altered("the entry %q is there twice", h.Name)
		}
		if strings.HasPrefix(h.Name, auditPrefix) && h.Size > maxAuditFile {
			return altered("the entry %q is too large", h.Name)
		}
		if err := u.write(ctx, h.Name, in); err != nil {
			return err
		}
	}
}

func (u *unpacking) readManifest(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return cutOff(err)
	}
	if err := json.Unmarshal(text, &u.manifest); err != nil {
		return altered("its %s cannot be read: %w", ferry.BackupManifest, err)
	}
	m := &u.manifest
	switch {
	case m.Format > ferry.BackupFormat:
		return ferry.Errorf(ferry.CodeLedgerNewer, "the backup has format %d, this program knows up to %d", m.Format, ferry.BackupFormat).
			WithHint("restore it with version %s of the broker, which wrote it, or a later one", m.Version)
	case m.Format < 1:
		return altered("its %s says nothing of its format", ferry.BackupManifest)
	case m.Schema > SchemaVersion():
		return ferry.Errorf(ferry.CodeLedgerNewer, "the backup's ledger has schema version %d, this broker knows up to %d", m.Schema, SchemaVersion()).
			WithHint("restore it with version %s of the broker, which wrote it, or a later one", m.Version)
	}
	needs := m.LedgerBytes + m.BodyBytes + m.AuditBytes
	if free, err := disk.Free(firstOr(u.dir, ".")); u.dir != "" && err == nil && free < needs+spare {
		return ferry.Errorf(ferry.CodeNoSpace, "the backup needs %d MiB, and %d MiB are free", needs>>20, free>>20).
			WithHint("make room, or restore into a folder of another disk")
	}
	sum := sha256.Sum256(text)
	u.sums[ferry.BackupManifest] = hex.EncodeToString(sum[:])
	return nil
}

func firstOr(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// expected says whether a backup may hold an entry of that name: nothing else is
// ever written.
func (u *unpacking) expected(name string) bool {
	if name == "ledger.db" || slices.Contains(u.manifest.Files, name) && isKeyFile(name) {
		return true
	}
	if file, ok := strings.CutPrefix(name, auditPrefix); ok {
		_, _, ok = parseAuditFile(file)
		return ok
	}
	file, ok := strings.CutPrefix(name, "bodies/")
	if !ok {
		return false
	}
	text, number, _ := strings.Cut(file[strings.LastIndexByte(file, '/')+1:], ".")
	id, err := ferry.ParseID(text)
	revision, numErr := strconv.Atoi(number)
	return errors.Join(err, numErr) == nil && revision > 0 && name == bodyName(id, revision)
}

// isKeyFile says whether a name is that of a key in the data folder, and of nothing
// elsewhere.
func isKeyFile(name string) bool {
	stem, ok := strings.CutSuffix(name, ".key")
	return ok && stem != "" && strings.Trim(stem, "abcdefghijklmnopqrstuvwxyz-") == ""
}

// write reads an entry, and writes it where there is a folder to write to.
func (u *unpacking) write(ctx context.Context, name string, r io.Reader) error {
	sum := sha256.New()
	if u.dir == "" {
		if _, err := io.Copy(stopping{ctx, sum}, r); err != nil {
			return cutOff(err)
		}
		u.sums[name] = hex.EncodeToString(sum.Sum(nil))
		return nil
	}
	path := filepath.Join(u.dir, filepath.FromSlash(name))
	if dir := filepath.Dir(path); dir != u.dir {
		if err := disk.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if len(u.folders) == 0 || u.folders[len(u.folders)-1] != dir {
			u.folders = append(u.folders, dir)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	to := &written{to: f}
	_, err = io.Copy(stopping{ctx, io.MultiWriter(sum, to)}, r)
	switch {
	case to.err != nil:
		err = to.err
	case err != nil:
		err = cutOff(err)
	default:
		err = f.Sync()
	}
	u.sums[name] = hex.EncodeToString(sum.Sum(nil))
	return errors.Join(err, f.Close())
}

// written tells errors of writing from those of reading.
type written struct {
	to  io.Writer
	err error
}

func (w *written) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	w.err = err
	return n, err
}

// readSums holds what came against the checksums, and syncs the names of files.
func (u *unpacking) readSums(r io.Reader) error {
	lines := bufio.NewScanner(io.LimitReader(r, maxSums))
	n := 0
	for lines.Scan() {
		want, name, _ := strings.Cut(lines.Text(), "  ")
		switch is := u.sums[name]; {
		case is == "":
			return altered("the entry %q is not there", name)
		case is != want:
			return altered("the entry %q has another checksum", name)
		}
		n++
	}
	if err := lines.Err(); err != nil {
		return cutOff(err)
	}
	if n != len(u.sums) || u.sums["ledger.db"] == "" {
		return altered("it has %d entries and %d checksums", len(u.sums), n)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return cutOff(err)
	}
	slices.Sort(u.folders)
	for _, dir := range slices.Compact(u.folders) {
		if err := disk.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}
