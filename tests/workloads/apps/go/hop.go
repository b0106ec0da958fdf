package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

var service = environment("SERVICE", "go")

type answer struct {
	Service  string          `json:"service"`
	PID      int             `json:"pid"`
	ID       string          `json:"id"`
	Next     json.RawMessage `json:"next"`
	Received *int64          `json:"received,omitempty"`
}

func main() {
	handle("/hop/", 1, hop)
	handle("/slow/", 2, slow)
	handle("/fail/", 1, fail)
	handle("/body/", 2, body)
	handle("/chunked/", 2, chunked)
	handle("/upload/", 1, upload)
	address := net.JoinHostPort(environment("HOST", "127.0.0.1"), environment("PORT", "8080"))
	log.Fatal(http.ListenAndServe(address, nil))
}

// handle registers a handler for `prefix` followed by exactly `parts` path segments.
func handle(prefix string, parts int, serve func(http.ResponseWriter, *http.Request, []string)) {
	http.HandleFunc(prefix, func(w http.ResponseWriter, r *http.Request) {
		found := strings.Split(strings.TrimPrefix(r.URL.Path, prefix), "/")
		if len(found) != parts {
			http.NotFound(w, r)
			return
		}
		serve(w, r, found)
	})
}

func hop(w http.ResponseWriter, r *http.Request, parts []string) {
	first, rest, _ := strings.Cut(r.URL.Query().Get("via"), ",")
	if first == "" {
		write(w, http.StatusOK, answer{ID: parts[0]})
		return
	}
	target := first + "/hop/" + parts[0]
	if rest != "" {
		target += "?via=" + url.QueryEscape(rest)
	}
	response, err := http.Get(target)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	inner, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		http.Error(w, fmt.Sprint(response.Status, err), http.StatusBadGateway)
		return
	}
	write(w, http.StatusOK, answer{ID: parts[0], Next: inner})
}

func slow(w http.ResponseWriter, _ *http.Request, parts []string) {
	time.Sleep(time.Duration(number(parts[0])) * time.Millisecond)
	write(w, http.StatusOK, answer{ID: parts[1]})
}

func fail(w http.ResponseWriter, _ *http.Request, parts []string) {
	write(w, http.StatusInternalServerError, answer{ID: parts[0]})
}

func body(w http.ResponseWriter, _ *http.Request, parts []string) {
	size := number(parts[0])
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(size))
	io.WriteString(w, strings.Repeat("x", size))
}

func chunked(w http.ResponseWriter, _ *http.Request, parts []string) {
	w.Header().Set("Content-Type", "application/octet-stream")
	for left := number(parts[0]); left > 0; left -= 1000 {
		io.WriteString(w, strings.Repeat("x", min(left, 1000)))
		w.(http.Flusher).Flush()
	}
}

func upload(w http.ResponseWriter, r *http.Request, parts []string) {
	received, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	write(w, http.StatusOK, answer{ID: parts[0], Received: &received})
}

func write(w http.ResponseWriter, status int, a answer) {
	a.Service, a.PID = service, os.Getpid()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(a)
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func environment(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}
