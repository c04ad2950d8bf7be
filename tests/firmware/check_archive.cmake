# Says what an archive needs from outside that firmware has not: cmake -DNM=... -DARCHIVE=...
# -P check_archive.cmake. Allowed is the list below; the rest (malloc, operator new, printf,
# __cxa_throw, unwinding tables, ...) is an error. Members named in HOST_MEMBERS (a regular
# expression) need an operating system and are left out.
execute_process(COMMAND ${NM} ${ARCHIVE} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)

set(allowed
  "mem(cpy|set|move|cmp)|bcmp|str(len|cmp|ncmp)"  # libc; Clang makes bcmp of some memcmp
  "(fma|sqrt|floor|ceil|nearbyint|rint)f?"   # libm, where the CPU has no such instruction
  "__aeabi_.*|__[a-z]+[sdt]i[234]?|__(fix|float)[a-z]+|__clear_cache"  # the compiler's arithmetic
  "_GLOBAL_OFFSET_TABLE_|__stack_chk_(fail|guard)|__asan_.*|__ubsan_.*")
list(JOIN allowed "|" allowed)

string(REGEX REPLACE "[\r\n]+" ";" lines "${symbols}")
set(member "")
set(defined "")
set(needed "")
foreach(line IN LISTS lines)
  if(line MATCHES "^(.+\\.o(bj)?):$")
    set(member "${CMAKE_MATCH_1}")
  elseif(HOST_MEMBERS AND member MATCHES "${HOST_MEMBERS}")
    if(line MATCHES " [TWVDBR] (.+)$")
      list(APPEND defined "${CMAKE_MATCH_1}")
    endif()
  elseif(line MATCHES " U (.+)$")
    list(APPEND needed "${member}:${CMAKE_MATCH_1}")
  elseif(line MATCHES " [A-TV-Za-z] (.+)$")
    list(APPEND defined "${CMAKE_MATCH_1}")
  endif()
endforeach()
list(LENGTH defined count)
if(count LESS 50)
  message(FATAL_ERROR "${ARCHIVE}: only ${count} symbols are defined; is it the right archive?")
endif()

set(refused "")
foreach(need IN LISTS needed)
  string(REGEX MATCH "[^:]+$" symbol "${need}")
  list(FIND defined "${symbol}" found)
  if(found EQUAL -1 AND (NOT symbol MATCHES "^(${allowed})$" OR symbol MATCHES "unwind"))
    list(APPEND refused "${need}")
  endif()
endforeach()
if(refused)
  list(JOIN refused "\n  " refused)
  message(FATAL_ERROR "${ARCHIVE} needs what firmware has not:\n  ${refused}")
endif()
