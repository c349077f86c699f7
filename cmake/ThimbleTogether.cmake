# Most of the time to compile a source goes into what it includes and the templates that it shares with others, so several
# are compiled at a time (unity builds), in their order in batches. Names in anonymous namespaces must therefore not
# repeat within a floor, its tests or the program. Who works on one file may prefer -DTHIMBLE_COMPILE_TOGETHER=OFF.
function(thimble_compile_together target)
  if(THIMBLE_COMPILE_TOGETHER)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  endif()
endfunction()
