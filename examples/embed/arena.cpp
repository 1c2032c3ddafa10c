// A small game server that embeds Python: the world ticks and the sockets are served in C++ on cyevent, without the
// GIL. The interpreter is entered in one place, Rules::command(), when a player types a line that begins with "/".
//
//     arena [-p PORT] [-t TICKS_PER_SECOND] [-r DIRECTORY_OF_rules.py]
//
// Players connect with `nc` and type lines:
//
//     go DX DY     move so many units a second
//     where        tells the own position
//     ticks        tells how many ticks the world has had
//     /...         goes to rules.py
//     anything else is said to everybody

#define PY_SSIZE_T_CLEAN
#include <cyevent/cyevent.h>

#include <arpa/inet.h>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <netinet/in.h>
#include <string>
#include <unistd.h>
#include <unordered_map>

namespace {

// A line longer than this, or a player with more unread output, costs the connection.
constexpr size_t line_limit = 1024;
constexpr size_t output_limit = 256 * 1024;

// --- Python --------------------------------------------------------------------------------------

// The game's rules, in rules.py. The object is made and destroyed with the GIL held.
class Rules {
public:
    // False with a Python exception set.
    bool load(const char *directory) {
        PyObject *path = PySys_GetObject("path");
        PyObject *entry = PyUnicode_DecodeFSDefault(directory);
        if (path == nullptr || entry == nullptr || PyList_Insert(path, 0, entry) < 0) {
            Py_XDECREF(entry);
            return false;
        }
        Py_DECREF(entry);
        PyObject *module = PyImport_ImportModule("rules");
        if (module == nullptr)
            return false;
        function_ = PyObject_GetAttrString(module, "command");
        Py_DECREF(module);
        return function_ != nullptr;
    }

    ~Rules() { Py_XDECREF(function_); }

    // The one way into the interpreter, from the loop's thread, which does not hold the GIL.
    std::string command(int player, const std::string &text, unsigned long tick) {
        std::string answer = "that did not work";
        PyGILState_STATE gil = PyGILState_Ensure();
        // What players type need not be UTF-8.
        PyObject *line = PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
        PyObject *result =
            line == nullptr ? nullptr : PyObject_CallFunction(function_, "iOk", player, line, tick);
        Py_ssize_t length = 0;
        const char *utf8 = result == nullptr ? nullptr : PyUnicode_AsUTF8AndSize(result, &length);
        if (utf8 != nullptr)
            answer.assign(utf8, static_cast<size_t>(length));
        else
            PyErr_WriteUnraisable(function_);
        Py_XDECREF(result);
        Py_XDECREF(line);
        PyGILState_Release(gil);
        return answer;
    }

private:
    PyObject *function_ = nullptr;
};

// --- the game -------------------------------------------------------------------------------------

class Arena;

struct Player {
    Arena *arena;
    int id;
    bufferevent *bev;
    double x = 0, y = 0, dx = 0, dy = 0;

    Player(Arena *arena, int id, bufferevent *bev) : arena(arena), id(id), bev(bev) {}
    ~Player() { bufferevent_free(bev); }  // safe in its own callbacks
    Player(const Player &) = delete;
    Player &operator=(const Player &) = delete;

    void send(const std::string &text) { bufferevent_write(bev, text.data(), text.size()); }
};

class Arena {
public:
    Arena(Rules &rules, int ticks_per_second) : rules_(rules), rate_(ticks_per_second) {}

    // False if the base, the socket or an event could not be made.
    bool open(int port) {
        sockaddr_in address = {};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(static_cast<uint16_t>(port));
        timeval period = {0, 1000000 / rate_};
        base_ = event_base_new();
        if (base_ == nullptr)
            return false;
        listener_ = evconnlistener_new_bind(
            base_, on_accept, this, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, -1,
            reinterpret_cast<sockaddr *>(&address), sizeof(address));
        ticker_ = event_new(base_, -1, EV_PERSIST, on_tick, this);
        interrupt_ = evsignal_new(base_, SIGINT, on_signal, this);
        terminate_ = evsignal_new(base_, SIGTERM, on_signal, this);
        return listener_ != nullptr && ticker_ != nullptr && interrupt_ != nullptr && terminate_ != nullptr
            && event_add(ticker_, &period) == 0 && event_add(interrupt_, nullptr) == 0
            && event_add(terminate_, nullptr) == 0;
    }

    // Bufferevents and listeners end in the loop's finalizers, which event_base_free() runs: it comes last.
    ~Arena() {
        players_.clear();
        if (listener_ != nullptr)
            evconnlistener_free(listener_);
        for (event *ev : {ticker_, interrupt_, terminate_})
            if (ev != nullptr)
                event_free(ev);
        if (base_ != nullptr)
            event_base_free(base_);
    }

    int run() { return event_base_dispatch(base_); }
    unsigned long ticks() const { return ticks_; }

    int port() const {
        sockaddr_in address = {};
        socklen_t length = sizeof(address);
        getsockname(evconnlistener_get_fd(listener_), reinterpret_cast<sockaddr *>(&address), &length);
        return ntohs(address.sin_port);
    }

private:
    static void on_tick(evutil_socket_t, short, void *arg) { static_cast<Arena *>(arg)->tick(); }

    static void on_signal(evutil_socket_t, short, void *arg) {
        event_base_loopexit(static_cast<Arena *>(arg)->base_, nullptr);
    }

    static void on_accept(evconnlistener *, evutil_socket_t fd, sockaddr *, int, void *arg) {
        static_cast<Arena *>(arg)->welcome(fd);
    }

    static void on_read(bufferevent *, void *arg) {
        Player *player = static_cast<Player *>(arg);
        player->arena->read_lines(*player);
    }

    static void on_event(bufferevent *, short what, void *arg) {
        Player *player = static_cast<Player *>(arg);
        if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT))
            player->arena->players_.erase(player->id);
    }

    void tick() {
        ticks_++;
        for (auto &[id, player] : players_) {
            player->x += player->dx / rate_;
            player->y += player->dy / rate_;
        }
        drop_the_slow();
    }

    void welcome(evutil_socket_t fd) {
        bufferevent *bev = bufferevent_socket_new(base_, fd, BEV_OPT_CLOSE_ON_FREE);
        if (bev == nullptr) {
            evutil_closesocket(fd);
            return;
        }
        int id = ++last_id_;
        auto player = std::make_unique<Player>(this, id, bev);
        bufferevent_setcb(bev, on_read, nullptr, on_event, player.get());
        bufferevent_setwatermark(bev, EV_READ, 0, 2 * line_limit);
        bufferevent_enable(bev, EV_READ | EV_WRITE);
        player->send("you are player " + std::to_string(id) + "\n");
        players_.emplace(id, std::move(player));
    }

    void read_lines(Player &player) {
        evbuffer *input = bufferevent_get_input(player.bev);
        size_t length;
        while (char *line = evbuffer_readln(input, &length, EVBUFFER_EOL_CRLF)) {
            obey(player, std::string(line, length));
            free(line);
        }
        if (evbuffer_get_length(input) > line_limit)
            players_.erase(player.id);
    }

    void obey(Player &player, const std::string &line) {
        if (line.compare(0, 1, "/") == 0) {
            player.send(rules_.command(player.id, line, ticks_) + "\n");
        } else if (line == "ticks") {
            player.send("ticks " + std::to_string(ticks_) + "\n");
        } else if (line == "where") {
            char text[64];
            snprintf(text, sizeof(text), "at %.2f %.2f\n", player.x, player.y);
            player.send(text);
        } else if (sscanf(line.c_str(), "go %lf %lf", &player.dx, &player.dy) != 2) {
            say(std::to_string(player.id) + ": " + line + "\n");
        }
    }

    // The bytes are in memory once, however many players there are.
    void say(const std::string &text) {
        evbuffer *message = evbuffer_new();
        if (message == nullptr)
            return;
        evbuffer_add(message, text.data(), text.size());
        for (auto &[id, player] : players_)
            evbuffer_add_buffer_reference(bufferevent_get_output(player->bev), message);
        evbuffer_free(message);
    }

    void drop_the_slow() {
        for (auto next = players_.begin(); next != players_.end();) {
            auto here = next++;
            if (evbuffer_get_length(bufferevent_get_output(here->second->bev)) > output_limit)
                players_.erase(here);
        }
    }

    Rules &rules_;
    int rate_;
    event_base *base_ = nullptr;
    evconnlistener *listener_ = nullptr;
    event *ticker_ = nullptr, *interrupt_ = nullptr, *terminate_ = nullptr;
    unsigned long ticks_ = 0;
    int last_id_ = 0;
    std::unordered_map<int, std::unique_ptr<Player>> players_;
};

// The program's work between Python's beginning and its end, entered and left with the GIL held.
int serve(int port, int rate, const char *directory) {
    Rules rules;
    if (import_cyevent() < 0 || !rules.load(directory)) {
        PyErr_Print();
        return 1;
    }
    int result = 1;
    // From here on the thread has no GIL, and needs none but for the rules.
    PyThreadState *python = PyEval_SaveThread();
    {
        Arena arena(rules, rate);
        if (arena.open(port)) {
            printf("listening on port %d\n", arena.port());
            fflush(stdout);
            result = arena.run() < 0 ? 1 : 0;
            printf("%lu ticks\n", arena.ticks());
        } else {
            perror("arena");
        }
    }
    PyEval_RestoreThread(python);
    return result;
}

}  // namespace

int main(int argc, char **argv) {
    int port = 0, rate = 30, option;
    const char *directory = ".";
    while ((option = getopt(argc, argv, "p:t:r:")) != -1) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 't': rate = atoi(optarg); break;
        case 'r': directory = optarg; break;
        default: return 2;
        }
    }
    if (rate < 20 || rate > 60 || port < 0 || port > 65535) {
        fprintf(stderr, "arena: 20 to 60 ticks a second, and a port below 65536\n");
        return 2;
    }
    // Without Python's signal handlers: SIGINT is an event here.
    Py_InitializeEx(0);
    int result = serve(port, rate, directory);
    return Py_FinalizeEx() < 0 ? 1 : result;
}
