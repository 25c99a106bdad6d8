package mapping

import (
	"errors"
	"math"
	"sync"

	"github.com/itchyny/gojq"
)

// multiplication is jq's *, but for texts that would be too long.
type multiplication struct {
	once sync.Once
	code *gojq.Code
	err  error
}

func (m *multiplication) of(l, r any) (any, error) {
	if text, times, ok := repetition(l, r); ok {
		if times > 0 && float64(len(text))*math.Floor(times) > MaxOutput {
			return nil, checkSize(MaxOutput + 1)
		}
	}
	if a, ok := l.(float64); ok {
		if b, ok := r.(float64); ok {
			return a * b, nil
		}
	}
	// Whole numbers of any size, objects and errors are the library's.
	m.once.Do(func() {
		query, err := gojq.Parse(".[0] * .[1]")
		if err == nil {
			m.code, err = gojq.Compile(query)
		}
		m.err = err
	})
	if m.err != nil {
		return nil, m.err
	}
	out, ok := m.code.Run([]any{l, r}).Next()
	if !ok {
		return nil, errors.New("it gives nothing")
	}
	if err, is := out.(error); is {
		return nil, err
	}
	return out, nil
}

// repetition says whether a text is to be repeated, and how often.
func repetition(l, r any) (text string, times float64, ok bool) {
	if _, is := l.(string); !is {
		l, r = r, l
	}
	if text, ok = l.(string); !ok {
		return "", 0, false
	}
	times, ok = gojq.ToFloat64(r)
	return text, times, ok
}
