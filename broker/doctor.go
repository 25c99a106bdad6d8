package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"ferry"
	"ferry/internal/disk"
)

// Bounds of the doctor.
const (
	doctorProof   = 20 * time.Second // for the look at the ledger
	doctorQueue   = 5 * time.Second  // for the queue's answer
	doctorSyncs   = 5
	slowSync      = 100 * time.Millisecond
	certificateIn = 14 * 24 * time.Hour
)

// Doctor looks at everything that the broker stands on, and changes nothing. It
// takes some seconds, and no longer on a large ledger.
func (b *Broker) Doctor(ctx context.Context) (ferry.Diagnosis, error) {
	d := ferry.Diagnosis{At: time.Now().UTC(), Environment: b.opts.Environment, Version: b.opts.Version}
	d.Checks = append(d.Checks, CheckDisk(b.opts.DataDir, b.opts.MinFree)...)
	d.Checks = append(d.Checks, b.checkClock()...)
	d.Checks = append(d.Checks, b.checkLedger(ctx), b.checkQueue(ctx))
	d.Checks = append(d.Checks, b.checkWorkers()...)
	d.Checks = append(d.Checks, CheckCertificate(b.certificate()), CheckFolder(b.opts.DataDir))
	if b.opts.Checks != nil {
		d.Checks = append(d.Checks, b.opts.Checks(ctx)...)
	}
	return d, ctx.Err()
}

func good(name, format string, args ...any) ferry.Check {
	return ferry.Check{Name: name, State: ferry.CheckOK, Text: fmt.Sprintf(format, args...)}
}

func warns(name, hint, format string, args ...any) ferry.Check {
	return ferry.Check{Name: name, State: ferry.CheckWarn, Text: fmt.Sprintf(format, args...), Hint: hint}
}

func fails(name, hint, format string, args ...any) ferry.Check {
	return ferry.Check{Name: name, State: ferry.CheckFail, Text: fmt.Sprintf(format, args...), Hint: hint}
}

func skips(name, format string, args ...any) ferry.Check {
	return ferry.Check{Name: name, State: ferry.CheckSkipped, Text: fmt.Sprintf(format, args...)}
}

// CheckDisk looks at room, at writing and syncing, and at the clock of the file
// system under dir.
func CheckDisk(dir string, minFree int64) []ferry.Check {
	var list []ferry.Check
	if minFree <= 0 {
		minFree = 16 << 20
	}
	switch free, err := disk.Free(dir); {
	case err != nil:
		list = append(list, skips("disk room", "this system does not say how much room there is: %v", err))
	case free < minFree:
		list = append(list, fails("disk room", "make room: messages are refused with noSpace until then", "%d MiB are free on the disk of %s", free>>20, dir))
	case free < lowDisk:
		list = append(list, warns("disk room", "make room before senders are refused", "only %d MiB are free on the disk of %s", free>>20, dir))
	default:
		list = append(list, good("disk room", "%d MiB are free on the disk of %s", free>>20, dir))
	}
	took, skew, err := trySync(dir)
	switch {
	case err != nil:
		return append(list, fails("disk sync", "let the broker's user write to the folder, and look at the disk and at the system's log", "%s cannot be written to: %v", dir, err))
	case took > slowSync:
		list = append(list, warns("disk sync", "every accept waits for one sync: a faster disk, or fewer neighbours on it, make senders wait less", "a sync takes %s in the middle", took.Round(time.Millisecond/10)))
	default:
		list = append(list, good("disk sync", "a sync takes %s in the middle", took.Round(time.Millisecond/100)))
	}
	if skew.Abs() > ferry.MaxClockSkew {
		return append(list, warns("clock of the disk", "set the clock of the machine that has the disk, or this one's", "the file system's clock differs from this machine's by %s", skew.Round(time.Second)))
	}
	return list
}

// trySync writes and syncs a small file a few times; took is the median, skew how
// far the file system's clock is ahead of ours.
func trySync(dir string) (took, skew time.Duration, err error) {
	f, err := os.CreateTemp(dir, "doctor-*.tmp")
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		err = errors.Join(err, f.Close(), os.Remove(f.Name()))
	}()
	times := make([]time.Duration, doctorSyncs)
	for i := range times {
		start := time.Now()
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return 0, 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, 0, err
		}
		times[i] = time.Since(start)
	}
	if info, err := f.Stat(); err == nil {
		skew = time.Until(info.ModTime())
	}
	slices.Sort(times)
	return times[doctorSyncs/2], skew, nil
}

// checkClock compares the workers' clocks with this machine's, as their last hellos
// told them.
func (b *Broker) checkClock() []ferry.Check {
	var list []ferry.Check
	compared := 0
	for _, w := range b.ledger.Workers() {
		s := b.fleet.get(w.Name)
		if s == nil || s.hello.Now.IsZero() || !b.fleet.heard(w.Name) {
			continue
		}
		compared++
		if skew := s.hello.Now.Sub(s.at); skew.Abs() > ferry.MaxClockSkew {
			list = append(list, fails("clock", "set the clocks by NTP: due times, times to live and tokens go by them", "the clock of worker %s differs from the broker's by %s", w.Name, skew.Round(time.Second)))
		}
	}
	switch {
	case len(list) > 0:
		return list
	case compared == 0:
		return []ferry.Check{skips("clock", "no worker has told its time, so that there is nothing to compare with")}
	}
	return []ferry.Check{good("clock", "the clocks of %d workers agree with the broker's to %s", compared, ferry.MaxClockSkew)}
}

// checkLedger holds the messages of yesterday and today, and all indexes, against
// each other: it ends early on a ledger that is too large for that.
func (b *Broker) checkLedger(ctx context.Context) ferry.Check {
	if err := b.ledger.Err(); err != nil {
		return fails("ledger", "look at the disk and start the broker again: it copies the ledger into a new, checked file first", "%v", err)
	}
	bounded, cancel := context.WithTimeout(ctx, doctorProof)
	defer cancel()
	proof, err := b.ledger.Prove(bounded, ferry.ProofRequest{Since: time.Now().Add(-24 * time.Hour)})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return skips("ledger", "it writes; it is too large to look at it in %s: broker reconcile looks at all of it", doctorProof)
	case err != nil:
		return fails("ledger", "keep a copy of the data folder and look at the disk", "it cannot be read: %v", err)
	case !proof.Balanced():
		return fails("ledger", "broker reconcile names all of it", "%d things do not add up, the first: %s", int64(len(proof.Findings))+proof.More, proof.Findings[0].Text)
	}
	return good("ledger", "%d MiB; it writes, and the messages of yesterday and today and all lists add up", b.ledger.Size()>>20)
}

// checkQueue asks the queue how far it is with each route.
func (b *Broker) checkQueue(ctx context.Context) ferry.Check {
	bounded, cancel := context.WithTimeout(ctx, doctorQueue)
	defer cancel()
	driver, hint := b.queue.Properties().Name, "look at the queue and at what lies between; nothing is lost meanwhile"
	if _, err := b.queue.ReceiptProgress(bounded); err != nil {
		return fails("queue", hint, "the queue (%s) does not say how far receipts are: %v", driver, err)
	}
	names := b.names()
	for _, name := range names {
		if _, err := b.queue.Progress(bounded, name); err != nil {
			return fails("queue", hint, "the queue (%s) does not say how far route %s is: %v", driver, name, err)
		}
	}
	return good("queue", "the queue (%s) answers for receipts and %d routes", driver, len(names))
}

// checkWorkers tells of workers that are silent, of another version, or that came
// with an inbox that their routes are not bound to.
func (b *Broker) checkWorkers() []ferry.Check {
	var list []ferry.Check
	well := 0
	for _, w := range b.ledger.Workers() {
		if w.RevokedAt != nil {
			continue
		}
		name, s := "worker "+w.Name, b.fleet.get(w.Name)
		switch {
		case s == nil:
			list = append(list, warns(name, "start it; worker check tells what keeps it from connecting", "it has not been heard since the broker started"))
			continue
		case !b.fleet.heard(w.Name):
			list = append(list, warns(name, "look at its machine and at what lies between; worker check tells what keeps it from connecting", "it was heard last at %s", s.at.UTC().Format(time.RFC3339)))
			continue
		case s.hello.Version != b.opts.Version:
			list = append(list, warns(name, "one version apart is fine for an upgrade; then bring both to the same", "it has version %s, the broker %s", s.hello.Version, b.opts.Version))
		}
		conflicts := b.conflictsOf(w, s)
		if len(conflicts) > 0 {
			list = append(list, fails(name, "is it the right machine and folder? then hand the routes over: broker workers bind", "it came with another inbox than its routes are bound to: %s", strings.Join(conflicts, ", ")))
			continue
		}
		well++
	}
	if well > 0 || len(list) == 0 {
		list = append([]ferry.Check{good("workers", "%d workers are connected", well)}, list...)
	}
	return list
}

func (b *Broker) conflictsOf(w ferry.WorkerInfo, s *sighting) (routes []string) {
	for _, name := range w.Routes {
		info, err := b.ledger.Route(name)
		if _, asked := s.asked[name]; err != nil || !asked || info.Several || info.Pull || info.Binding == nil {
			continue
		}
		if info.Binding.Worker == w.Name && info.Binding.Inbox != s.hello.Inbox {
			routes = append(routes, name)
		}
	}
	return routes
}

// CheckCertificate looks at the certificate of the broker's listener.
func CheckCertificate(c *ferry.CertificateInfo) ferry.Check {
	const name = "certificate"
	if c == nil {
		return skips(name, "the broker serves plain HTTP")
	}
	left := time.Until(c.NotAfter)
	switch {
	case c.Problem != "":
		return fails(name, "mend the files: they are looked at again by themselves", "the files as they are now are not used: %s", c.Problem)
	case left <= 0:
		return fails(name, "put a new one in its place: it is taken over by itself", "it has ended at %s", c.NotAfter.Format(time.RFC3339))
	case left < certificateIn:
		return warns(name, "put a new one in its place: it is taken over by itself", "it ends in %d days, at %s", int(left.Hours()/24), c.NotAfter.Format(time.RFC3339))
	case time.Now().Before(c.NotBefore):
		return fails(name, "look at the clock, or take another certificate", "it is good from %s on", c.NotBefore.Format(time.RFC3339))
	}
	return good(name, "for %s, of %s, until %s", strings.Join(c.Names, ", "), c.Issuer, c.NotAfter.Format(time.RFC3339))
}

// CheckFolder looks whether others may open the data folder: it holds messages, and
// keys in plain text. What is in a folder that is closed nobody else can open.
func CheckFolder(dir string) ferry.Check {
	const name = "data folder"
	info, err := os.Stat(dir)
	if err != nil {
		return fails(name, "let the broker's user read its data folder", "%s cannot be read: %v", dir, err)
	}
	if runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0 {
		return CheckPrivate(name, dir)
	}
	paths := []string{dir}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fails(name, "let the broker's user read its data folder", "%s cannot be read: %v", dir, err)
	}
	for _, e := range entries {
		paths = append(paths, filepath.Join(dir, e.Name()))
	}
	return CheckPrivate(name, paths...)
}

// CheckPrivate looks whether others than their owner may read files.
func CheckPrivate(name string, paths ...string) ferry.Check {
	if runtime.GOOS == "windows" {
		return skips(name, "Windows says by access lists who may read a file: look there")
	}
	var open []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			open = append(open, fmt.Sprintf("%s (%s)", path, info.Mode().Perm()))
		}
	}
	if len(open) > 0 {
		return fails(name, "chmod go= "+strings.Fields(open[0])[0]+", and ask who may have read it", "others than the owner may open %s", strings.Join(open[:min(len(open), 5)], ", "))
	}
	return good(name, "only the owner may read what is in it")
}
