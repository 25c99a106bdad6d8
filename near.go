package ferry

// Distance is the edit distance (Levenshtein) of two names, in bytes: how many are
// to be put in, taken out or altered. It is there for hints that ask whether
// another name was meant; of names longer than 128 bytes it is 128.
func Distance(a, b string) int {
	const most = 128
	if len(a) > most || len(b) > most {
		return most
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
