package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bench runs the contenders in turn and prints medians and ratios.
type bench struct {
	rounds  int
	spell   time.Duration
	path    int
	dir     string
	profile string
}

// process is a contender or the ERP at work.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	url   string
	key   string
}

func (b *bench) run(only string) error {
	dir, err := os.MkdirTemp(b.dir, "ferry-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b.dir = dir
	fmt.Printf("%s %s/%s, %d cores, load and ERP in processes of their own on the same cores; 1 KiB messages, each with a key of its own\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	for _, part := range []struct {
		name string
		run  func() error
	}{{"accept", b.accepts}, {"guard", b.guardedDoor}, {"path", b.wholePath}, {"protocol", b.protocol}, {"compact", b.compacting}, {"cost", b.adapterCost}, {"bus", b.serviceBus}} {
		if only == "" || only == part.name {
			if err := part.run(); err != nil {
				return err
			}
		}
	}
	return nil
}

// measured is one contender's figure in one round.
type measured struct {
	perSecond float64
	p50, p99  float64
	peakMB    float64
	cpu       float64 // processor time of the server per message, µs; 0 where nobody tells
}

// accepts compares durable accepts with the same surface over nothing and over
// a plain file.
func (b *bench) accepts() error {
	fmt.Printf("Durable accepts per second, medians of %d rounds of %s\n\n", b.rounds, b.spell)
	fmt.Printf("%6s %12s %12s %12s %10s %10s %10s %10s %10s\n", "conns", "(a) nothing", "(b) file", "ledger", "ledger/a", "ledger/b", "p50 ms", "p99 ms", "peak MB")
	for _, conns := range []int{1, 16, 64, 256} {
		figures := map[string][]measured{}
		for range b.rounds {
			for _, kind := range []string{kindNone, kindFile, kindLedger} {
				m, err := b.accept(kind, conns)
				if err != nil {
					return fmt.Errorf("%s at %d connections: %w", kind, conns, err)
				}
				figures[kind] = append(figures[kind], m)
			}
		}
		ledger := figures[kindLedger]
		fmt.Printf("%6d %12.0f %12.0f %12.0f %10.2f %10.2f %10.2f %10.2f %10.0f\n", conns,
			medianOf(figures[kindNone], rate), medianOf(figures[kindFile], rate), medianOf(ledger, rate),
			medianRatio(ledger, figures[kindNone]), medianRatio(ledger, figures[kindFile]),
			medianOf(ledger, func(m measured) float64 { return m.p50 }), medianOf(ledger, func(m measured) float64 { return m.p99 }),
			maxOf(ledger, func(m measured) float64 { return m.peakMB }))
	}
	fmt.Println()
	return nil
}

func (b *bench) accept(kind string, conns int) (measured, error) {
	p, err := b.start("-role", "serve", "-kind", kind, "-dir", b.fresh())
	if err != nil {
		return measured{}, err
	}
	r, err := b.load(p, senders{conns: conns})
	m := measured{perSecond: float64(r.Sent) / r.Seconds, p50: r.P50, p99: r.P99, peakMB: p.peakMB()}
	return m, errors.Join(err, p.stop())
}

// wholePath compares HTTP in, ERP called, completed, with the same path without
// any ledger.
func (b *bench) wholePath() error {
	fmt.Printf("Whole path, messages per second from the first request to the last completion; %d messages over 64 connections, %d calls of the ERP at a time, medians of %d rounds\n\n", b.path, calls, b.rounds)
	erp, err := b.start("-role", "erp")
	if err != nil {
		return err
	}
	defer func() { _ = erp.stop() }()
	figures := map[string][]measured{}
	for range b.rounds {
		for _, kind := range []string{kindBare, kindQueue, kindPath} {
			m, err := b.deliverAll(whole{kind: kind, senders: senders{conns: 64, messages: b.path}}, erp)
			if err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
			figures[kind] = append(figures[kind], m)
		}
	}
	peak := func(m measured) float64 { return m.peakMB }
	fmt.Printf("%14s %14s %10s %12s %12s %14s\n", "(c) no queue", "(d) no ledger", "Ferry", "Ferry/c", "Ferry/d", "Ferry peak MB")
	fmt.Printf("%14.0f %14.0f %10.0f %12.2f %12.2f %14.0f\n\n",
		medianOf(figures[kindBare], rate), medianOf(figures[kindQueue], rate), medianOf(figures[kindPath], rate),
		medianRatio(figures[kindPath], figures[kindBare]), medianRatio(figures[kindPath], figures[kindQueue]),
		maxOf(figures[kindPath], peak))
	return nil
}

// whole is one run of the whole path.
type whole struct {
	exe  string // the program; default this one
	kind string
	args []string // further ones of the server
	senders
}

func (b *bench) deliverAll(run whole, erp *process) (measured, error) {
	if err := post(erp.url + "/reset"); err != nil {
		return measured{}, err
	}
	args := append([]string{"-role", "serve", "-kind", run.kind, "-dir", b.fresh(), "-erp", erp.url}, run.args...)
	if run.kind == kindPath && b.profile != "" {
		args = append(args, "-profile", b.profile)
	}
	p, err := b.startProgram(run.exe, args...)
	if err != nil {
		return measured{}, err
	}
	start, before := time.Now(), p.cpuSeconds()
	_, err = b.load(p, run.senders)
	deadline := time.Now().Add(2 * time.Minute)
	for err == nil {
		var text string
		if text, err = get(p.url + "/completed"); err != nil || text == strconv.Itoa(run.messages) {
			break
		}
		if time.Now().After(deadline) {
			err = fmt.Errorf("%s of %d completed after two minutes", text, run.messages)
		}
		time.Sleep(5 * time.Millisecond)
	}
	m := measured{perSecond: float64(run.messages) / time.Since(start).Seconds(), peakMB: p.peakMB()}
	m.cpu = 1e6 * (p.cpuSeconds() - before) / float64(run.messages)
	if err == nil {
		var counts string
		if counts, err = get(erp.url + "/counts"); err == nil && counts != fmt.Sprintf("%d 0", run.messages) {
			err = fmt.Errorf("the ERP wrote (documents, twice) %s, not %d 0", counts, run.messages)
		}
	}
	return m, errors.Join(err, p.stop())
}

func (b *bench) fresh() string {
	dir, err := os.MkdirTemp(b.dir, "run-")
	if err != nil {
		return filepath.Join(b.dir, "run") // the server will say what is wrong
	}
	return dir
}

func (b *bench) start(args ...string) (*process, error) { return b.startProgram("", args...) }

// startProgram starts a program, "" for this one, and waits until it is ready.
func (b *bench) startProgram(exe string, args ...string) (*process, error) {
	if exe == "" {
		var err error
		if exe, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	p := &process{cmd: exec.Command(exe, args...)}
	p.cmd.Stderr = os.Stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	words := strings.Fields(line)
	if err != nil || len(words) != 3 || words[0] != "ready" {
		return nil, errors.Join(fmt.Errorf("%v did not start", args), err, p.stop())
	}
	p.url, p.key = words[1], words[2]
	return p, nil
}

func (p *process) stop() error {
	return errors.Join(p.stdin.Close(), p.cmd.Wait())
}

// peakMB is the process's largest resident memory so far, where /proc tells.
func (p *process) peakMB() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024
		}
	}
	return 0
}

func (p *process) cpuSeconds() float64 { return cpuOf(strconv.Itoa(p.cmd.Process.Pid)) }

// cpuOf is the processor time that a process, or "self", has had so far, where /proc
// tells: it drifts less than the time by the clock on a machine with other work.
func cpuOf(process string) float64 {
	text, err := os.ReadFile("/proc/" + process + "/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100 // ticks of 10 ms, whatever the kernel's own are
}

func (b *bench) load(p *process, s senders) (loadResult, error) {
	exe, err := os.Executable()
	if err != nil {
		return loadResult{}, err
	}
	cmd := exec.Command(exe, append([]string{"-role", "load", "-target", p.url + " " + p.key, "-time", b.spell.String()}, s.args()...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return loadResult{Seconds: 1}, fmt.Errorf("load: %w", err)
	}
	var r loadResult
	return r, json.Unmarshal(out, &r)
}

func get(url string) (string, error) {
	resp, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	return string(text), err
}

func post(url string) error {
	resp, err := http.Post(url, "", nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func rate(m measured) float64 { return m.perSecond }

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

func medianOf(ms []measured, of func(measured) float64) float64 {
	values := make([]float64, len(ms))
	for i, m := range ms {
		values[i] = of(m)
	}
	return median(values)
}

func maxOf(ms []measured, of func(measured) float64) float64 {
	most := 0.0
	for _, m := range ms {
		most = max(most, of(m))
	}
	return most
}

// medianRatio is the median of the ratios within each round.
func medianRatio(a, b []measured) float64 {
	values := make([]float64, len(a))
	for i := range a {
		values[i] = a[i].perSecond / b[i].perSecond
	}
	return median(values)
}
