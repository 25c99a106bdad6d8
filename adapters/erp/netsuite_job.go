package erp

import (
	"net/http"
	"net/url"
	"strings"

	"ferry/adapters/httpcall"
)

// told follows an asynchronous request: the job says whether it is done, its list
// of tasks names the one task, and the task's result is the answer that the
// request would have had at once. What cannot be made out counts as running: when
// the time for it is over, the record is looked for.
func (f *netsuiteForm) told(a *httpcall.Answer, asked *url.URL) (state opState, next string) {
	path := strings.TrimRight(asked.EscapedPath(), "/")
	if strings.HasSuffix(path, "/result") {
		return netsuiteResult(a), ""
	}
	if a.Status != http.StatusOK || !a.Whole() {
		return stateUnsaid, ""
	}
	value, err := answerValue(a)
	switch {
	case err != nil:
		return stateRunning, ""
	case strings.HasSuffix(path, "/task"):
		items, _ := member(value, "items").([]any)
		if len(items) == 0 {
			return stateRunning, ""
		}
		if task := linkOf(items[0], "self"); task != "" {
			return stateRunning, strings.TrimRight(task, "/") + "/result"
		}
		return stateRunning, ""
	case member(value, "completed") != true:
		return stateRunning, ""
	case strings.HasSuffix(path[:strings.LastIndexByte(path, '/')], "/task"): // one task
		return stateRunning, path + "/result"
	}
	return stateRunning, path + "/task"
}

// netsuiteResult reads the answer that a request would have had at once. Its
// status is that of the request, unless it is one of the question's own.
func netsuiteResult(a *httpcall.Answer) opState {
	switch {
	case a.Status >= 200 && a.Status <= 299:
		return stateDone
	case a.Status < 400 || a.Status > 499:
		return stateUnsaid
	}
	switch a.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout, http.StatusGone, http.StatusTooManyRequests:
		return stateUnsaid
	}
	if netsuiteThrottle.MatchString(netsuiteProblem(a).Code) {
		return stateUnsaid
	}
	return stateFailed
}

// linkOf is the address that an object of NetSuite gives for a relation.
func linkOf(value any, relation string) string {
	links, _ := member(value, "links").([]any)
	for _, l := range links {
		if member(l, "rel") == relation {
			address, _ := member(l, "href").(string)
			return address
		}
	}
	return ""
}
