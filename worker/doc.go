// Package worker is the delivery engine: it receives hand-outs of its routes,
// calls the destination at most once per turn, and reports what came of it.
//
// What it guarantees, whatever ends it at whatever moment:
//
//   - Before the first byte of a call "begun" is on disk in the inbox; so a call
//     whose end nobody recorded is known, waited out, and looked up before
//     anything else is sent. Where several workers deliver the route, a claim at
//     the broker takes its place.
//   - A result is reported again until the broker says that its commit is on disk.
//   - No call starts or runs past its deadline, and no message is worked on twice
//     at a time.
//   - What the destination's outage, pace or refusal of credentials stops costs no
//     message an attempt.
//
// The path of one delivery: loop.go receives, examine.go looks at hand-out and
// inbox record and says what to do, deliver.go does it, settle.go turns the
// verdict into what happens next, finish.go records and reports it.
package worker
